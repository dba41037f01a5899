"""Trials of a hostile vendor, and of limits beside slots."""

import asyncio
import time

import callers
from callers import until
from gateway import token
from processes import BAD_VENDOR, BUDGETS, any_call, keyed, limits

REFUSALS = {"unasked": 0.03, "429": 0.08, "429 said": 0.08, "429 absurd": 0.08, "503": 0.05, "503 refused": 0.03}


async def bad_vendor(world):
    """Stalls, resets, cuts, 429 with and without headers, absurd headers; pushes with keys are never sent twice."""
    config = await world.open(**limits(world.dice("limits")))
    dice = world.dice("vendor trial")
    inject = dice.random() < 0.5
    config.tenants["shop"] = {"cid": "inject", "cid_batch": dice.choice([2, 5, 20])} if inject else {}
    world.vendor.behave({**BAD_VENDOR, **REFUSALS, "unread": 0.05}, absurd=dice.choice([0, 0.1, 0.5]))
    gateway = await world.gateway(config)
    for number in range(5):
        world.spawn(world.crowd(gateway, any_call(world), world.dice(f"crowd {number}")))
    for number in range(6):
        world.spawn(keyed(world, gateway, world.dice(f"keyed {number}")))
    world.fine.add(408)
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.random() * 3)
        if dice.random() < 0.2:
            await world.vendor.stop()
            await asyncio.sleep(dice.random() / 2)
            await world.vendor.start()
            world.counts["vendor down"] += 1
    world.vendor.behave()
    await world.stop_callers()
    # A host that was down is first probed by one call at a time.
    await until("the host is reached again", lambda: reached(world, gateway))
    await world.lone(gateway, callers.tags(token("anna")), "after a bad vendor")
    await world.settle([gateway])
    config.tenants["shop"] = {}
    await gateway.reload()
    await world.full_rate([gateway], BUDGETS)


async def reached(world, gateway):
    answer = await world.call(gateway, callers.tags(token("anna")))
    return answer is not None and answer.reason != "vendor-circuit-open"


async def mixed(world):
    """Queued calls over one budget and over two, with quotas, bursts and reserves."""
    dice = world.dice("mixed")
    config = await world.open(**limits(world.dice("limits")))
    for name, (limit, window) in list(config.budgets.items()):
        config.budgets[name] = (limit, window, dice.choice([0, 0, 1, max(1, limit // 2)]))
    for name in ("anna", "bert"):
        if dice.random() < 0.6:
            config.callers[name]["quota"] = f"{{ limit: {dice.randint(2, 10)}, window: {dice.choice([1, 2])}s }}"
        if dice.random() < 0.5:
            small = {budget: value[0] // 3 for budget, value in config.budgets.items() if value[0] >= 3}
            config.callers[name]["reserve"] = (
                "{ " + ", ".join(f"{budget}: {calls}" for budget, calls in small.items()) + " }"
            )
        config.callers[name]["weight"] = dice.randint(1, 4)
    world.vendor.behave(dice.choice([{}, {"slow": 0.3}, BAD_VENDOR]))
    world.vendor.slowest = 0.2
    gateway = await world.gateway(config)
    for number in range(14):
        world.spawn(world.crowd(gateway, any_call(world, wait=0.8), world.dice(f"crowd {number}"), pause=0.05))
    for number in range(2):
        world.spawn(world.hangs_up(gateway, any_call(world, wait=0.8), world.dice(f"leaver {number}")))
    await asyncio.sleep(world.seconds)
    world.vendor.behave()
    await world.stop_callers()
    for caller in ("anna", "cleo"):
        message = lambda: dice.choice([callers.tags, callers.files, callers.schedule])(token(caller))
        await world.lone(gateway, message, f"{caller} after mixed waiting", rounds=1)
        await world.lone(gateway, callers.schedule(token(caller), file=True), f"{caller} over two budgets", rounds=1)
    await world.settle([gateway])
    config.callers = {name: {} for name in config.callers}
    config.budgets = {name: value[:2] for name, value in config.budgets.items()}
    await gateway.reload()
    await asyncio.sleep(world.window)
    await world.full_rate([gateway], BUDGETS)


async def retry_after(world):
    """A lone caller that waits as long as it was told is admitted, in every mode of one process."""
    dice = world.dice("retry after")
    config = await world.open(**limits(world.dice("limits")))
    # A call without an answer counts as lasting this long.
    config.deadline = 3
    limit = world.limits["device"]
    modes = ["plain", "burst", "quota", "reserve", "reserve and quota", "burst and quota", "reserve and burst"]
    mode = dice.choice(modes)
    if "burst" in mode:
        config.budgets = {name: (*value, dice.randint(1, value[0])) for name, value in config.budgets.items()}
    if "quota" in mode:
        config.callers["anna"][
            "quota"
        ] = f"{{ limit: {dice.randint(1, limit)}, window: {dice.choice([1, 2, 3])}s, burst: 1 }}"
    if "reserve" in mode and limit >= 2:
        kept = {name: dice.randint(1, value[0] - 1) for name, value in config.budgets.items()}
        config.callers["bert"]["reserve"] = "{ " + ", ".join(f"{name}: {calls}" for name, calls in kept.items()) + " }"
    gateway = await world.gateway(config)
    end = time.monotonic() + world.seconds
    while time.monotonic() < end:
        # Other callers stop at a random moment: answered, stalled, broken, queued.
        world.vendor.behave(
            dice.choice([{}, {"slow": 0.5}, {"stall": 0.3}, {"reset": 0.5, "429 said": 0.2}, {"429": 0.5}])
        )
        world.over = False
        for number in range(dice.randint(1, 6)):
            world.spawn(
                world.hangs_up(
                    gateway, any_call(world, wait=0.5), world.dice(f"other {number} {time.monotonic()}"), pause=0.02
                )
            )
        await asyncio.sleep(dice.random() * 2)
        world.over = True
        await asyncio.sleep(0.05)
        world.vendor.behave()
        for task in list(world.tasks):
            task.cancel()
        await asyncio.gather(*list(world.tasks), return_exceptions=True)
        make = dice.choice(
            [callers.tags, callers.files, callers.schedule, lambda token: callers.schedule(token, file=True)]
        )
        await world.lone(gateway, make(token("anna")), mode, rounds=1)
        if mode == "plain":
            await world.precisely(gateway, mode)
    await world.stop_callers()
    await world.settle([gateway])
