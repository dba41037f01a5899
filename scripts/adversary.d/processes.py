"""Trials of processes that are killed, replaced and reloaded, and whose callers disconnect."""

import asyncio
import math
import signal
import time

import callers
from callers import Connection, Unanswered, until
from gateway import KEYS, shared_port, token

BAD_VENDOR = {
    "slow": 0.3,
    "stall": 0.03,
    "reset": 0.04,
    "reset at head": 0.02,
    "cut": 0.04,
    "slow body": 0.05,
    "hints": 0.05,
}
BAD_VENDOR |= {"leaves": 0.05}


def plain_push(caller, *fields):
    return callers.push(caller, f"plain {next(callers.NAMES)}", *fields)


def large_push(caller, *fields):
    """A push larger than a vendor that does not read accepts at once."""
    return callers.push(caller, f"large {next(callers.NAMES)} " + "x" * 900_000, *fields)


def target_list(caller, *fields):
    return callers.schedule(caller, *fields, file=True)


# Calls over one budget and over two, with their relative frequency.
KINDS = {
    callers.tags: 8,
    plain_push: 5,
    large_push: 0.2,
    callers.schedule: 4,
    target_list: 4,
    callers.files: 4,
    callers.broadcast: 2,
    callers.broadcast_later: 2,
}
# The first call for each budget.
BUDGETS = {
    "device": callers.tags,
    "push": plain_push,
    "schedule": callers.schedule,
    "file": callers.files,
    "broadcast": callers.broadcast,
}


def any_call(world, wait=0.3):
    """Makes calls over all budgets, some of which queue."""

    def message(dice):
        caller = token(dice.choice(["anna", "bert", "cleo"]))
        fields = [f"Prefer: wait={dice.choice([1, 2, 5, 20])}"] if dice.random() < wait else []
        kind = dice.choices(list(KINDS), KINDS.values())[0]
        return kind(caller, *fields)

    return message


def limits(dice):
    return {name: dice.randint(2, 14) for name in BUDGETS}


async def keyed(world, gateway, dice, own_cids=0.2, may_break=lambda: False):
    """Repeats each push with its key until it succeeds, also on several connections at once. `gateway` may choose another
    process each time."""
    choose = gateway if callable(gateway) else lambda: gateway
    while not world.over:
        alert = f"keyed {world.alert(dice)}"
        own = dice.random() < own_cids
        cid = f"7d431e42dfa6a6d693ac2d04-{dice.randint(10**7, 10**8 - 1)}-1111-4111-8111-111111111111" if own else None
        fields = [f"Idempotency-Key: {alert.replace(' ', '-')}"]
        if dice.random() < 0.5:
            fields.append("Prefer: wait=2")
        message = callers.push(token("anna"), alert, *fields, cid=cid)
        for _ in range(8):
            if world.over:
                return
            if dice.random() < 0.3:
                await callers.hang_up(choose().port, message, dice)
                world.counts["hang-ups"] += 1
            calls = [world.call(choose(), message, may_break) for _ in range(dice.choice([1, 1, 3]))]
            answers = await asyncio.gather(*calls)
            if any(answer is not None and "x-jpush-gateway-idempotency" in answer.fields for answer in answers):
                # The store did not answer, and the key is of one replica, which the answer says.
                world.alone.add(alert)
            if any(answer is not None and answer.status == 200 for answer in answers):
                break
            await asyncio.sleep(dice.random() * 0.1)


async def start(world, with_state=True, more=lambda config: None):
    config = await world.open(**limits(world.dice("limits")))
    if with_state:
        config.more.append(f"state_file: {world.place('state')}/state")
    more(config)
    return config


async def keys_over_kills(world):
    """Kill -9 while pushes are repeated under their keys: with a state file none goes out twice."""
    config = await world.open(**{name: 60 for name in BUDGETS})
    config.more.append(f"state_file: {world.place('state')}/state")
    dice = world.dice("kills")
    world.vendor.behave(BAD_VENDOR)
    current, killed = [await world.gateway(config)], [-math.inf]
    for number in range(6):
        may_break = lambda: time.monotonic() - killed[0] < 15
        world.spawn(keyed(world, lambda: current[0], world.dice(f"keyed {number}"), may_break=may_break))
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.choice([0.1, 0.5, world.window]) * (0.2 + dice.random()))
        killed[0] = time.monotonic()
        await current[0].kill()
        world.counts["kills"] += 1
        current[0] = await world.gateway(config)
        killed[0] = time.monotonic()
    world.vendor.behave()
    await world.stop_callers()
    await world.settle(current)


async def kills(world):
    """Kill -9 at random instants; with a state file no call may be forgotten."""
    config = await start(world)
    dice = world.dice("kills")
    world.vendor.behave(BAD_VENDOR)
    world.vendor.slowest = dice.choice([0.05, 0.3, 0.9])
    current, kills = [await world.gateway(config)], [0]

    def broken_by_kill():
        # Requests that were on their way to a process that has been killed.
        return current[0].is_dead or kills[0] > 0 and time.monotonic() - kills[1] < 15

    message = any_call(world)
    for number in range(8):
        world.spawn(world.crowd(lambda: current[0], message, world.dice(f"crowd {number}"), broken_by_kill))
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.choice([0.05, 0.3, 1, world.window]) * (0.2 + dice.random()))
        if dice.random() < 0.3:
            # The process is stopped for a while before, as a whole machine can be.
            current[0].signal(signal.SIGSTOP)
            await asyncio.sleep(dice.random() * 2)
            current[0].signal(signal.SIGCONT)
            await asyncio.sleep(dice.random() * 0.3)
            world.counts["freezes"] += 1
        await current[0].kill()
        world.counts["kills"] += 1
        while dice.random() < 0.3:
            await world.gateway(config, dies_after=dice.random() * 0.1)
            world.counts["kills"] += 1
        kills[:] = [1, time.monotonic()]
        current[0] = await world.gateway(config)
    world.vendor.behave()
    await world.stop_callers()
    await world.lone(current[0], callers.tags(token("anna")), "after kills")
    await world.settle(current)
    await world.full_rate(current, BUDGETS)


async def rolling(world):
    """A successor starts while its predecessor serves, and takes over; every request that was read is answered."""
    kills_too = world.dice("kills too").random() < 0.4
    port, admin_port = shared_port(), shared_port()

    def same_ports(config):
        config.port, config.admin_port = port[1], admin_port[1]

    config = await start(world, more=same_ports)
    dice = world.dice("rolling")
    world.vendor.behave(dice.choice([{}, {"slow": 0.5}, BAD_VENDOR, {"slow": 0.2, "stall": 0.1}]))
    if dice.random() < 0.5:
        # Longer than the owner of the state file waits for its last answers.
        config.response, config.deadline, world.vendor.slowest = 4, 6, 3.5
    current = [await world.gateway(config, "gateway")]
    message = any_call(world)

    def broken_by_kill():
        return time.monotonic() - world.killed < 15

    for number in range(4):
        world.spawn(world.crowd(lambda: current[0], message, world.dice(f"crowd {number}"), broken_by_kill))
        world.spawn(kept(world, port[1], message, world.dice(f"kept {number}")))
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.random() * world.window * 1.5)
        former, current[0] = current[0], await world.gateway(config, "gateway")
        await asyncio.sleep(dice.choice([0, 0, 0.3]) * dice.random())
        if kills_too and dice.random() < 0.3:
            # A process that waits for the state file and is stopped again.
            await world.gateway(config, "gateway", dies_after=dice.random() * 0.3)
        if kills_too and dice.random() < 0.2:
            former.signal(signal.SIGSTOP)
            await asyncio.sleep(dice.random() * 2)
            former.signal(signal.SIGCONT)
            world.counts["freezes"] += 1
        former.stop()
        if dice.random() < 0.3:
            # Two signals, and one to reload.
            await asyncio.sleep(dice.random() * 0.2)
            number = dice.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGHUP])
            if number != signal.SIGHUP:
                # The second signal ends the process at once.
                world.killed = time.monotonic()
            former.signal(number)
        if kills_too and dice.random() < 0.5:
            # Killed while it hands the state file over.
            await asyncio.sleep(dice.random() * 0.3)
            world.killed = time.monotonic()
            await former.kill()
            world.counts["kills"] += 1
        await asyncio.wait_for(former.process.wait(), 20)
        world.counts["restarts"] += 1
        await until("the file is ours", lambda: owned(current[0]))
    world.vendor.behave()
    await world.stop_callers()
    await world.lone(current[0], callers.tags(token("anna")), "after a rolling restart")
    await world.settle(current)
    await world.full_rate(current, BUDGETS)
    port[0].close()
    admin_port[0].close()


async def owned(gateway):
    return (await gateway.status())["state_file"] == "owned"


async def kept(world, port, message, dice):
    """Makes calls on a kept connection. A call without an answer must be one that no process read."""
    connection, number = Connection(port), 0
    while not world.over:
        number += 1
        name = f"kept-{dice.randint(0, 10**9)}-{number}"
        text = message(dice).replace(b"\r\nHost:", b"\r\nX-Request-Id: " + name.encode() + b"\r\nHost:", 1)
        world.counts["calls"] += 1
        try:
            answer = await connection.call(text)
            world.counts[f"{answer.status} {answer.reason or ''}".strip()] += 1
        except Unanswered as error:
            await asyncio.sleep(0.2)
            killed = time.monotonic() - world.killed < 15
            if not killed and any(gateway.has_read(name) for gateway in world.gateways):
                world.bad(f"{name} was read and not answered: {error}")
            world.counts["unread"] += 1
        await asyncio.sleep(dice.random() * 0.04)
    connection.close()


async def reloads(world):
    """Many reloads that change limits, windows, keys, tenants and quotas; the vendor's limits must hold throughout."""
    config = await start(world, with_state=world.dice("state").random() < 0.5)
    dice = world.dice("reloads")
    most, window = dict(world.limits), world.window
    world.vendor.behave(dice.choice([{}, {"slow": 0.5}, BAD_VENDOR]))
    gateway = await world.gateway(config)
    # For each limit: the earliest time it was in force, and the latest time a call may have been admitted by it.
    history = [[0.0, math.inf, dict(most)]]

    def limit_at(key, name, at):
        return max(limits[name] for since, until, limits in history if since <= at <= until)

    async def put_in_force(limits, reload):
        former, now = history[-1], time.monotonic()
        history.append([now, math.inf, limits])
        await reload
        # A push that has its slot may wait two seconds for a cid.
        former[1] = time.monotonic() + 2.5

    world.limit_at = limit_at
    message = any_call(world)
    for number in range(6):
        world.spawn(world.crowd(gateway, message, world.dice(f"crowd {number}")))
    for number in range(2):
        world.spawn(world.hangs_up(gateway, message, world.dice(f"leaver {number}")))
        world.spawn(keyed(world, gateway, world.dice(f"keyed {number}"), own_cids=0))
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        limits = {name: dice.randint(1, limit) for name, limit in most.items()}
        await put_in_force(limits, reload_to(world, gateway, (limits, window), dice))
        await asyncio.sleep(dice.choice([0, 0.01, 0.1, 0.5]) * dice.random())
    config.budgets = {name: (limit, window) for name, limit in most.items()}
    config.callers = {name: {} for name in ("anna", "bert", "cleo")}
    config.tenants, config.keys, config.guard, config.response = {"shop": {}}, dict(KEYS), 0.4, 1.0
    await put_in_force(dict(most), gateway.reload())
    world.vendor.behave()
    await world.stop_callers()
    await world.lone(gateway, callers.tags(token("anna")), "after reloads")
    await world.settle([gateway], more=2 * window)
    await world.full_rate([gateway], BUDGETS)


async def reload_to(world, gateway, sizes, dice):
    """Another configuration whose limits are no higher."""
    (limits, window), config = sizes, gateway.config
    if dice.random() < 0.1:
        # A refused configuration changes nothing.
        with open(f"{gateway.folder}/gateway.yaml", "a") as file:
            file.write(dice.choice(["callers: 7\n", "{\n", "guard: [\n", "\0"]))
        outcome = await callers.admin(gateway.admin_port, "POST", "/reload")
        if outcome.get("result") != "failure":
            world.bad(f"a reload was not refused: {outcome}")
    config.guard = dice.choice([0.4, 0.4, 0.9])
    config.response = dice.choice([1.0, 1.0, 0.5, 2.0])
    longer = {name: window * dice.choice([1, 1, 1.5, 2]) for name in limits}
    burst = {name: dice.choice([0, 0, 0, 1, max(1, limit // 2)]) for name, limit in limits.items()}
    config.budgets = {name: (limit, longer[name], burst[name]) for name, limit in limits.items()}
    config.tenants = {"shop": dice.choice([{}, {"cid": "inject", "cid_batch": 3}, {"resend_guard": "0s"}])}
    config.keys = dict(KEYS) if dice.random() < 0.7 else {**KEYS, "shop": KEYS["spare"], "spare": KEYS["shop"]}
    # Two tenants with one key share its budgets.
    market = dice.random() < 0.3
    if market:
        config.tenants["market"] = {}
        config.keys["market"] = dice.choice([config.keys["shop"], config.keys["spare"]])
    names = ["anna", "bert", "cleo"]
    dice.shuffle(names)
    config.callers = {name: share(dice, window, limits) for name in names}
    for name in names:
        # With only one tenant, requests need not name it.
        config.callers[name]["tenants"] = ["market" if market and name == "cleo" else "shop"]
    if dice.random() < 0.3:
        config.callers["dora"] = {}
    outcome = await gateway.reload()
    world.counts["reloads"] += 1
    if outcome.get("result") != "success":
        world.bad(f"a reload was refused: {outcome}")


def share(dice, window, limits):
    more = {}
    if dice.random() < 0.3:
        more["quota"] = f"{{ limit: {dice.randint(1, 10)}, window: {dice.choice([1, 2, 3])}s, burst: 1 }}"
    if dice.random() < 0.3:
        more["weight"] = dice.randint(1, 5)
    if dice.random() < 0.2:
        more["wait"] = "2s"
    kept = {name: dice.randint(1, limit // 3) for name, limit in limits.items() if limit >= 3 and dice.random() < 0.2}
    if kept:
        more["reserve"] = "{ " + ", ".join(f"{name}: {calls}" for name, calls in kept.items()) + " }"
    return more


async def hang_ups(world):
    """Callers that disconnect at any byte and any time, while others continue."""
    config = await start(world, with_state=world.dice("state").random() < 0.5)
    config.tenants["shop"] = world.dice("cid").choice([{}, {"cid": "inject", "cid_batch": 3}])
    world.vendor.behave({**BAD_VENDOR, "unread": 0.05})
    gateway = await world.gateway(config)
    message = any_call(world, wait=0.7)
    for number in range(12):
        world.spawn(world.hangs_up(gateway, message, world.dice(f"leaver {number}"), pause=0.03))
    for number in range(4):
        world.spawn(world.crowd(gateway, message, world.dice(f"crowd {number}")))
    await asyncio.sleep(world.seconds)
    world.vendor.behave()
    await world.stop_callers()
    await world.lone(gateway, callers.tags(token("anna")), "after hang-ups")
    await world.settle([gateway])
    # A fetch of cids takes a slot of `push`.
    config.tenants["shop"] = {}
    await gateway.reload()
    await world.full_rate([gateway], BUDGETS)
