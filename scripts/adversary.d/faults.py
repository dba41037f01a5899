"""Faults of a store, of the connection to it, and of a replica, each for some time."""

import asyncio
import signal

from gateway import KEYS

RESTORED = ["nothing", "everything", "some"]


async def stopped(fleet, dice):
    fleet.redis.signal(signal.SIGSTOP)
    await asyncio.sleep(dice.choice([0.02, 0.09, 0.3, 1.5]) * dice.random())
    fleet.redis.signal(signal.SIGCONT)


async def cut(fleet, dice):
    for relay in chosen(fleet, dice):
        relay.set("cut")
    await asyncio.sleep(2 * dice.random())


async def hole(fleet, dice):
    for relay in chosen(fleet, dice):
        relay.set("hole")
    await asyncio.sleep(2 * dice.random())


async def slow(fleet, dice):
    for relay in chosen(fleet, dice):
        relay.set("pass", dice.choice([0.05, 0.09, 0.097, 0.1, 0.103, 0.11, 0.2]))
    await asyncio.sleep(2 * dice.random())


async def flicker(fleet, dice):
    """The store is slow and fast by turns, near the limit of 100 ms."""
    for _ in range(20):
        for relay in chosen(fleet, dice):
            relay.set("pass", dice.choice([0, 0.08, 0.099, 0.12]))
        await asyncio.sleep(0.1 * dice.random())


async def emptied(fleet, dice):
    await fleet.redis.command("FLUSHALL")
    await asyncio.sleep(dice.random())


async def frozen(fleet, dice):
    """A replica is stopped, sometimes for longer than its slots last."""
    gateway = dice.choice(fleet.replicas)
    gateway.signal(signal.SIGSTOP)
    await asyncio.sleep(dice.choice([0.3, 1, 1.5 * fleet.hold]) * dice.random())
    gateway.signal(signal.SIGCONT)


async def one_key_lost(fleet, dice):
    name = dice.choice(list(fleet.world.limits))
    await fleet.redis.command("DEL", f"jpush-gateway:{{{KEYS['shop']}}}:{name}")
    await asyncio.sleep(dice.random())


async def out_of_memory(fleet, dice):
    await fleet.redis.command("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(2 * dice.random())
    await fleet.redis.command("CONFIG", "SET", "maxmemory", "0")


async def read_only(fleet, dice):
    await fleet.redis.command("REPLICAOF", "127.0.0.1", "1")
    await asyncio.sleep(2 * dice.random())
    await fleet.redis.command("REPLICAOF", "NO", "ONE")


async def loading(fleet, dice):
    for relay in chosen(fleet, dice):
        relay.set("loading")
    await asyncio.sleep(2 * dice.random())


async def without_rights(fleet, dice):
    rules = dice.choice(
        [
            ["-@all"],
            ["+@all", "-@write", "~*"],
            ["+@all", "-evalsha", "~*"],
            ["+@all", "~other"],
            ["+@all", "-zadd", "~*"],
        ]
    )
    await fleet.redis.rights(*rules)
    await asyncio.sleep(2 * dice.random())
    await fleet.redis.rights("+@all", "~*", "&*")


async def evicting(fleet, dice):
    """A configuration that the documentation warns of: an evicted budget is held back like a lost one."""
    await fleet.redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    await fleet.redis.command("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(dice.random())
    await fleet.redis.command("CONFIG", "SET", "maxmemory", "0")
    await fleet.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def disturbed(fleet, dice):
    """An operator's commands that affect the store's clients."""
    commands = [
        ("CLIENT", "PAUSE", "90", "ALL"),
        ("CLIENT", "PAUSE", "300", "WRITE"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SCRIPT", "FLUSH"),
        ("DEBUG", "SLEEP", "0.09"),
        ("DEBUG", "SLEEP", "0.3"),
    ]
    for _ in range(5):
        await fleet.redis.command(*dice.choice(commands))
        await asyncio.sleep(0.3 * dice.random())


async def busy(fleet, dice):
    """Somebody's script does not end, so the store answers BUSY."""
    await fleet.redis.command("CONFIG", "SET", "busy-reply-threshold", "10")
    endless = asyncio.create_task(fleet.redis.command("EVAL", "while true do end", "0"))
    await asyncio.sleep(0.1 + dice.random())
    await fleet.redis.command("SCRIPT", "KILL")
    await endless


async def garbage(fleet, dice):
    """Answers that are malformed, or meant for another command."""
    for relay in chosen(fleet, dice):
        relay.garbage = dice.choice(
            [
                b"*0\r\n",
                b"*-1\r\n",
                b"$-1\r\n",
                b":1\r\n",
                b"*1\r\n:0\r\n",
                b"+OK\r\n",
                b"\0\0\0",
                b"*99999999\r\n",
                b"*3\r\n:0\r\n:-5\r\n:-9223372036854775808\r\n",
                b"$536870912\r\n",
                b"-MOVED 1 1.1.1.1:1\r\n",
            ]
        )
        relay.set("garbage")
    await asyncio.sleep(dice.random())


async def began_anew(fleet, dice):
    await fleet.redis.restart(dice.choice(RESTORED))
    await asyncio.sleep(dice.random())


async def away(fleet, dice):
    await fleet.redis.kill()
    await asyncio.sleep(2 * dice.random())
    await fleet.redis.start()


def chosen(fleet, dice):
    return dice.sample(fleet.relays, dice.randint(1, len(fleet.relays)))


FAULTS = [
    *(
        stopped,
        cut,
        hole,
        slow,
        flicker,
        emptied,
        one_key_lost,
        evicting,
        out_of_memory,
        read_only,
        loading,
        without_rights,
    ),
    *(disturbed, busy, garbage, began_anew, away, frozen),
]
