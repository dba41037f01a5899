"""Trials of replicas that share a store, and of faults of the store."""

import asyncio
import math
import signal
import time

import callers
from callers import until
from faults import FAULTS
from gateway import KEYS, free_port, token
from processes import BAD_VENDOR, BUDGETS, any_call, keyed
from store import Redis, Relay


class Fleet:
    """A store, a relay to it for each replica, and the replicas."""

    def __init__(self, world):
        self.world, self.relays, self.replicas = world, [], []

    async def start(self, count, local, with_state=False, deadline=30, limits=None, change=lambda config: None):
        world = self.world
        dice = world.dice("fleet")
        base = await world.open(**(limits or {name: dice.randint(6, 24) for name in BUDGETS}))
        self.redis = Redis(world.place("redis"), free_port())
        await self.redis.start()
        self.configs = []
        for number in range(count):
            relay = Relay(self.redis.port)
            await relay.start()
            self.relays.append(relay)
            config = type(base)(world.vendor.port)
            config.deadline = deadline
            config.budgets, config.callers = dict(base.budgets), {name: {} for name in base.callers}
            sharing = f'url: {{ value: "{relay.url}" }}, local_share: {local}%, replicas: {count}'
            config.more = [f"shared_budgets: {{ redis: {{ {sharing} }} }}"]
            if with_state:
                config.more.append(f"state_file: {world.place(f'state {number}')}/state")
            change(config)
            self.configs.append(config)
            self.replicas.append(await world.gateway(config, f"replica {number}"))
        self.own_parts = min(world.limits.values()) * local // 100 // count
        self.hold = base.attempt + base.guard + world.window
        return self

    async def are(self, standing, patience=20):
        for gateway in self.replicas:
            if not gateway.is_dead:
                await until(standing, lambda gateway=gateway: self.stands(gateway, standing), patience)

    async def stands(self, gateway, standing):
        return (await gateway.status())["store"] == standing

    async def is_empty(self):
        """Checks that the store holds no slots, only a mark for each budget."""
        for name in self.world.limits:
            found = await self.redis.command("ZCOUNT", f"jpush-gateway:{{{KEYS['shop']}}}:{name}", "0", "+inf")
            time_now = await self.redis.command("TIME")
            micros = int(time_now.split(b"\r\n")[2]) * 10**6
            held = await self.redis.command("ZCOUNT", f"jpush-gateway:{{{KEYS['shop']}}}:{name}", str(micros), "+inf")
            if held != b":0\r\n":
                self.world.bad(f"the store still holds {held} slots of {name} ({found} in all)")

    def mend(self):
        for relay in self.relays:
            relay.set("pass")

    async def stop(self):
        if self.redis.process.returncode is None:
            self.redis.signal(signal.SIGCONT)
            await self.redis.kill()


async def trouble(world, fleet, dice, end):
    """Causes one fault after the other, with time between them in which a budget could be overrun."""
    await fleet.redis.remember()
    while time.monotonic() < end:
        fault = dice.choice(FAULTS)
        await fault(fleet, dice)
        world.counts["store faults"] += 1
        world.counts[f"store {fault.__name__}"] += 1
        if dice.random() < 0.7:
            fleet.mend()
        await asyncio.sleep(dice.choice([0, 0.5, 1.5 * fleet.hold]) * dice.random())
    fleet.mend()


async def store(world):
    """Three replicas, and a store with every kind of fault."""
    dice = world.dice("store")
    fleet = Fleet(world)
    try:
        await fleet.start(3, dice.choice([0, 20, 50]))
        world.vendor.behave(dice.choice([{}, {"slow": 0.4}, BAD_VENDOR]))
        for number in range(9):
            gateway = fleet.replicas[number % 3]
            world.spawn(
                world.crowd(
                    gateway, any_call(world), world.dice(f"crowd {number}"), lambda gateway=gateway: gateway.is_dead
                )
            )
        end = time.monotonic() + 2 * world.seconds
        await asyncio.sleep(fleet.hold)
        await trouble(world, fleet, dice, end)
        world.vendor.behave()
        await world.stop_callers()
        await come_back(world, fleet)
    finally:
        await fleet.stop()


async def keys_at_replicas(world):
    """Pushes repeated under their keys at any of three replicas that are killed, with a store that is slow: none goes out
    twice."""
    dice = world.dice("keys at replicas")
    fleet = Fleet(world)
    try:
        await fleet.start(3, dice.choice([20, 50]), deadline=6, limits={name: 60 for name in BUDGETS})
        await fleet.are("up")
        world.vendor.behave(dice.choice([{}, {"slow": 0.4}, BAD_VENDOR]))
        killed = [-math.inf]
        for number in range(8):
            own = world.dice(f"keyed {number}")
            alive = lambda own=own: own.choice([one for one in fleet.replicas if not one.is_dead])
            may_break = lambda: time.monotonic() - killed[0] < 15
            world.spawn(keyed(world, alive, own, may_break=may_break))
        end = time.monotonic() + 2 * world.seconds
        while time.monotonic() < end:
            # Below the time after which the store counts as away, and a key as of one replica.
            dice.choice(fleet.relays).set("pass", 0.05 * dice.random())
            await asyncio.sleep(dice.choice([0.2, 1, 3]) * dice.random())
            place = dice.randint(0, 2)
            killed[0] = time.monotonic()
            await fleet.replicas[place].kill()
            world.counts["kills"] += 1
            started = await world.gateway(fleet.configs[place], f"replica {place}")
            # Before it has the store, a key is of this replica alone.
            await until("up", lambda: fleet.stands(started, "up"), 20)
            fleet.replicas[place] = started
            killed[0] = time.monotonic()
        world.vendor.behave()
        fleet.mend()
        await world.stop_callers()
        await come_back(world, fleet)
    finally:
        await fleet.stop()


async def come_back(world, fleet):
    """Checks that all is as before once the store works again."""
    await fleet.are("up")
    # A budget that the store does not know is held back from its first use on.
    for gateway in fleet.replicas:
        for make in BUDGETS.values():
            await world.call(gateway, make(token("anna")))
    await world.settle(fleet.replicas)
    if fleet.own_parts:
        # Without slots of its own, a replica cannot tell how long to wait if the store misses one answer.
        await world.lone(fleet.replicas[0], callers.tags(token("anna")), "shared, a while after faults", rounds=1)
    await world.settle(fleet.replicas)
    await fleet.is_empty()
    # If the store is late once, on a busy machine, each replica has only its own part for a moment.
    await world.full_rate(fleet.replicas, BUDGETS, tries=3)


async def state_and_store(world):
    """Replicas with a state file each, killed and replaced while the store has faults."""
    dice = world.dice("state and store")
    fleet = Fleet(world)
    try:
        await fleet.start(2, dice.choice([20, 50, 100]), with_state=True)
        world.vendor.behave(dice.choice([{}, {"slow": 0.4}, BAD_VENDOR]))
        killed = [0.0]
        for number in range(8):
            place = number % 2
            world.spawn(
                world.crowd(
                    lambda place=place: fleet.replicas[place],
                    any_call(world),
                    world.dice(f"crowd {number}"),
                    lambda: time.monotonic() - killed[0] < 15,
                )
            )
        end = time.monotonic() + 2 * world.seconds
        faults = asyncio.create_task(trouble(world, fleet, dice, end))
        starts = world.dice("starts")
        while time.monotonic() < end:
            await asyncio.sleep(starts.choice([0.2, 1, fleet.hold]) * starts.random())
            place = starts.randint(0, 1)
            killed[0] = time.monotonic()
            await fleet.replicas[place].kill()
            world.counts["kills"] += 1
            fleet.replicas[place] = await world.gateway(fleet.configs[place], f"replica {place}")
            killed[0] = time.monotonic()
        await faults
        world.vendor.behave()
        await world.stop_callers()
        await come_back(world, fleet)
    finally:
        await fleet.stop()


async def shared_retry_after(world):
    """A lone caller of replicas: with the store, without it, and while budgets are held back."""
    dice = world.dice("shared retry after")
    fleet = Fleet(world)
    try:
        # Each replica owns at least one slot.
        more = dice.choice(["plain", "plain", "quota", "reserve", "burst"])

        def change(config):
            if more == "quota":
                config.callers["anna"]["quota"] = "{ limit: 3, window: 2s, burst: 1 }"
            if more == "reserve":
                config.callers["bert"]["reserve"] = "{ device: 2, file: 1, schedule: 2 }"
            if more == "burst":
                config.budgets = {name: (*value, 2) for name, value in config.budgets.items()}

        await fleet.start(2, dice.choice([40, 60]), deadline=4, change=change)
        end = time.monotonic() + 2 * world.seconds
        while time.monotonic() < end:
            mode = dice.choice(["up", "away", "holding back", "slow", "just back"])
            world.vendor.behave(dice.choice([{}, {"slow": 0.5}, {"stall": 0.3}, {"429 said": 0.3}]))
            world.over = False
            for number in range(4):
                gateway = fleet.replicas[number % 2]
                world.spawn(
                    world.hangs_up(
                        gateway, any_call(world, wait=0.4), world.dice(f"other {number} {time.monotonic()}"), pause=0.02
                    )
                )
            await asyncio.sleep(dice.random() * 2)
            await become(fleet, mode, dice)
            world.over = True
            await asyncio.sleep(0.05)
            world.vendor.behave()
            for task in list(world.tasks):
                task.cancel()
            await asyncio.gather(*list(world.tasks), return_exceptions=True)
            make = dice.choice([callers.tags, callers.files, lambda token: callers.schedule(token, file=True)])
            await world.lone(fleet.replicas[0], make(token("anna")), f"shared, {more}, {mode}", rounds=1)
            if (more, mode) == ("plain", "up"):
                await world.precisely(fleet.replicas[0], f"shared, {mode}", rounds=2)
            fleet.mend()
        await world.stop_callers()
        for gateway in fleet.replicas:
            change_back(gateway.config, world)
            await gateway.reload()
        await come_back(world, fleet)
    finally:
        await fleet.stop()


def change_back(config, world):
    """Changes the configuration so that nothing but slots limits calls."""
    config.callers = {name: {} for name in config.callers}
    config.budgets = {name: (limit, world.window) for name, limit in world.limits.items()}


async def become(fleet, mode, dice):
    if mode in ("away", "just back"):
        for relay in fleet.relays:
            relay.set(dice.choice(["cut", "hole", "loading"]))
        await fleet.are("away")
    if mode == "just back":
        fleet.mend()
    if mode == "slow":
        for relay in fleet.relays:
            # Close to 100 ms, and not over it on a busy machine.
            relay.set("pass", 0.06)
    if mode == "holding back":
        await fleet.redis.command("FLUSHALL")
        await asyncio.sleep(dice.random())


async def shared_mixed(world):
    """Queued calls over one budget and over two, with slots in the store: a slot that is set aside there expires."""
    dice = world.dice("shared mixed")
    fleet = Fleet(world)
    try:
        small = {name: dice.randint(1, 5) for name in BUDGETS}
        await fleet.start(2, dice.choice([0, 0, 40]), limits=small)
        world.vendor.behave(dice.choice([{}, {"slow": 0.3}, BAD_VENDOR]))
        for number in range(16):
            world.spawn(
                world.crowd(
                    fleet.replicas[number % 2], any_call(world, wait=0.9), world.dice(f"crowd {number}"), pause=0.05
                )
            )
        for number in range(2):
            world.spawn(
                world.hangs_up(fleet.replicas[number % 2], any_call(world, wait=0.9), world.dice(f"leaver {number}"))
            )
        await asyncio.sleep(2 * world.seconds)
        world.vendor.behave()
        await world.stop_callers()
        await come_back(world, fleet)
    finally:
        await fleet.stop()


async def replicas_reload(world):
    """Replicas whose limits and windows change one after the other, never beyond the vendor's."""
    dice = world.dice("replicas reload")
    fleet = Fleet(world)
    try:
        await fleet.start(2, dice.choice([0, 20, 50]))
        most = dict(world.limits)
        world.vendor.behave(dice.choice([{}, {"slow": 0.4}]))
        for number in range(6):
            world.spawn(world.crowd(fleet.replicas[number % 2], any_call(world), world.dice(f"crowd {number}")))
        end = time.monotonic() + 2 * world.seconds
        while time.monotonic() < end:
            sizes = {
                name: (dice.randint(2, limit), world.window * dice.choice([1, 1, 1.5])) for name, limit in most.items()
            }
            for gateway in fleet.replicas:
                gateway.config.budgets = dict(sizes)
                outcome = await gateway.reload()
                world.counts["reloads"] += 1
                if outcome.get("result") != "success":
                    world.bad(f"a reload was refused: {outcome}")
                await asyncio.sleep(dice.choice([0, 0.1, 0.5]) * dice.random())
            await asyncio.sleep(dice.choice([0.1, fleet.hold, 2 * fleet.hold]) * dice.random())
        for gateway in fleet.replicas:
            gateway.config.budgets = {name: (limit, world.window) for name, limit in most.items()}
            await gateway.reload()
        world.vendor.behave()
        await world.stop_callers()
        await asyncio.sleep(fleet.hold)
        await come_back(world, fleet)
    finally:
        await fleet.stop()
