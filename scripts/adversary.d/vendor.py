"""A vendor that counts each call at the worst instant, and treats answers as it is told.

For every call it keeps the interval in which it may count it: from the first byte of the request to the head of the
answer. A call that was given up, or that it broke itself, may be counted until `guard` after that.
"""

import asyncio
import base64
import collections
import itertools
import json
import math
import random
import struct
import socket
import time
import uuid

# Seconds between two looks at the clock; a close by the gateway is noticed within TICKS of them.
TICK, TICKS = 0.005, 6
# After a longer delay of this process, it cannot tell whether a call that it reads now was given up meanwhile.
HELD_UP = 0.2

# Budgets that a path draws on; the first match counts. A schedule for a target list draws on `file`, too.
BUDGETS = [
    ("/v3/push/file", ["file"]),
    ("/v3/push", ["push"]),
    ("/v3/files", ["file"]),
    ("/v3/schedules", ["schedule"]),
    ("/v3/tags", ["device"]),
]

ABSURD = [
    "-1",
    "-9223372036854775809",
    "4294967296",
    "99999999999999999999999",
    "Fri, 31 Dec 1999 23:59:59 GMT",
    "",
    "1e3",
    "0x10",
    "0",
    "1",
    "+5",
    "3.5",
    "NaN",
    "٣",
]


class Call:
    """One request, as far as it was received."""

    def __init__(self, number):
        self.number = number
        self.first = time.monotonic()
        self.last = math.inf
        self.method = self.path = ""
        self.key = self.id = ""
        self.budgets = []
        self.delivered = None
        self.fate = "open"


class Vendor:
    def __init__(self, guard, dice):
        self.guard, self.dice = guard, dice
        self.calls = []
        # Deliveries of each push, by the text in it; calls with the same cid are one delivery.
        self.deliveries = collections.defaultdict(set)
        # Probability of each treatment; otherwise a good answer is sent at once.
        self.fates = {}
        self.slowest = 0.3
        self.answers_absurdly = 0.0
        self.server = None
        self.port = 0
        self.numbers = itertools.count(1)
        self.writers = set()
        # Connections that were closed without an answer, and when.
        self.left = {}
        self.ticks = collections.deque([time.monotonic()] * TICKS, TICKS)
        self.ticking = None
        # A cid of another application is refused, as by the vendor.
        self.foreign_cids = 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=1 << 20, backlog=512)
        self.port = self.server.sockets[0].getsockname()[1]
        self.ticking = self.ticking or asyncio.create_task(self.tick())

    async def tick(self):
        while True:
            self.ticks.append(time.monotonic())
            await asyncio.sleep(TICK)

    async def stop(self):
        """Stops listening and closes all connections."""
        self.server.close()
        for writer in list(self.writers):
            self.left[writer] = time.monotonic()
            writer.close()

    def behave(self, fates=None, absurd=0.0):
        self.fates, self.answers_absurdly = fates or {}, absurd

    async def serve(self, reader, writer):
        self.writers.add(writer)
        call = None
        try:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while first := await reader.read(65536):
                call = Call(next(self.numbers))
                if call.first - self.ticks[0] < HELD_UP:
                    self.calls.append(call)
                if not await self.one(call, first, reader, writer):
                    break
                call = None
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            if call is not None and call.last == math.inf:
                self.broken(call, "broken")
            if call is not None and writer in self.left:
                call.last = min(call.last, self.left[writer] + self.guard)
            self.writers.discard(writer)
            writer.close()

    def broken(self, call, fate):
        # The call was given up before now, and after this process, which may be late, last looked.
        call.last, call.fate = self.ticks[0] + self.guard, fate

    async def one(self, call, found, reader, writer):
        """Serves one request. Returns whether the connection stays open."""
        while b"\r\n\r\n" not in found:
            found += await self.more(reader)
        head, body = found.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        call.method, target, _ = lines[0].split(" ", 2)
        call.path, _, query = target.partition("?")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        call.key, call.id = key_of(fields.get("authorization", "")), fields.get("x-request-id", "")
        call.budgets = list(next((budgets for start, budgets in BUDGETS if call.path.startswith(start)), []))
        fate = self.fate()
        if fate == "reset at head":
            return self.reset(call, writer)
        if fate == "unread":
            # Shorter than the gateway's timeout, whose end could not be observed meanwhile.
            writer.transport.pause_reading()
            await asyncio.sleep(self.dice.random() * 0.8)
            writer.transport.resume_reading()
        while len(body) < int(fields.get("content-length", "0")):
            body += await self.more(reader)
        text = json.loads(body) if body[:1] == b"{" else {}
        audience = text.get("push", text).get("audience")
        if audience == "all":
            call.budgets.append("broadcast")
        elif call.path.startswith("/v3/schedules") and "file" in (audience or {}):
            call.budgets.append("file")
        return await self.answer(call, fate, (text, query), (reader, writer))

    async def more(self, reader):
        if piece := await reader.read(65536):
            return piece
        raise ConnectionError

    def fate(self):
        point = self.dice.random()
        for fate, chance in self.fates.items():
            point -= chance
            if point < 0:
                return fate
        return "good"

    async def answer(self, call, fate, said, wire):
        reader, writer = wire
        cid = said[0].get("cid")
        if cid and not cid.startswith(call.key):
            self.foreign_cids += 1
            fate = "400"
        if not fate.startswith("4") and fate != "503 refused":
            self.deliver(call, said[0])
        if fate == "hints":
            # An interim answer.
            writer.write(b"HTTP/1.1 103 Early Hints\r\nX-Rate-Limit-Remaining: 600\r\n\r\n")
        if fate == "reset":
            return self.reset(call, writer)
        if fate in ("slow", "stall", "cut", "slow body", "hints"):
            if await self.gave_up(reader, 60 if fate == "stall" else self.dice.random() * self.slowest):
                self.broken(call, "given up")
                return False
        if writer.is_closing():
            return False
        content = self.content(call, said)
        status, lines = "200 OK", []
        if fate.startswith("429"):
            status, content = "429 Too Many Requests", b'{"error":{"code":2002,"message":"Rate limit exceeded"}}'
        if fate == "400":
            status, content = "400 Bad Request", b'{"error":{"code":1003,"message":"cid is not of this application"}}'
        if fate.startswith("503"):
            status, content = "503 Service Unavailable", b'{"error":{"code":1030,"message":"Internal service timeout"}}'
        if fate == "429 said":
            lines = [
                "X-Rate-Limit-Limit: 600",
                "X-Rate-Limit-Remaining: 0",
                f"X-Rate-Limit-Reset: {self.dice.randint(0, 3)}",
            ]
        if self.dice.random() < self.answers_absurdly or fate == "429 absurd":
            lines = [
                f"X-Rate-Limit-{name}: {self.dice.choice(ABSURD)}" for name in ("Limit", "Remaining", "Reset", "Quota")
            ]
            self.dice.shuffle(lines)
            lines = lines[: self.dice.randint(1, 4)]
        head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(content)}", *lines]
        head = "\r\n".join(head).encode() + b"\r\n\r\n"
        if fate == "cut" and self.dice.random() < 0.5:
            # Cut in the middle of the head.
            writer.write(head[: self.dice.randint(1, len(head) - 5)])
            return self.end(call, writer, "cut in head")
        call.last, call.fate = time.monotonic(), fate
        if fate in ("cut", "slow body"):
            writer.write(head + content[:1])
            if fate == "cut":
                return self.end(None, writer, "cut")
            await asyncio.sleep(self.dice.random() * self.slowest)
            writer.write(content[1:])
        else:
            writer.write(head + content)
        await writer.drain()
        if fate == "leaves":
            # A kept connection is closed, at once or a little later, as idle ones are.
            await asyncio.sleep(self.dice.choice([0, 0.001, 0.01, 0.1]) * self.dice.random())
            return self.end(None, writer, fate)
        if fate == "unasked":
            await asyncio.sleep(self.dice.choice([0, 0.001, 0.01]) * self.dice.random())
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n{}")
            return self.end(None, writer, fate)
        return True

    def deliver(self, call, text):
        """Delivers the push, unless its cid is known."""
        alert = text.get("notification", {}).get("alert") if isinstance(text.get("notification"), dict) else None
        if call.path in ("/v3/push", "/v3/grouppush") and alert:
            self.deliveries[alert].add((call.key, text["cid"]) if text.get("cid") else call.number)

    def content(self, call, said):
        if call.path == "/v3/push/cid":
            count = int(dict(pair.split("=") for pair in said[1].split("&")).get("count", "1"))
            cids = [f"{call.key}-{uuid.UUID(int=random.getrandbits(128), version=4)}" for _ in range(count)]
            return json.dumps({"cidlist": cids}).encode()
        return json.dumps({"sendno": call.id, "msg_id": str(10**15 + call.number)}).encode()

    async def gave_up(self, reader, longest):
        """Whether the gateway closes within this time."""
        try:
            found = await asyncio.wait_for(reader.read(1), longest)
            return not found
        except asyncio.TimeoutError:
            return False

    def reset(self, call, writer):
        self.broken_by_us(call, "reset")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    def end(self, call, writer, fate):
        if call is not None:
            self.broken_by_us(call, fate)
        writer.close()
        return False

    def broken_by_us(self, call, fate):
        # The gateway cannot notice before this moment.
        call.last, call.fate = time.monotonic() + self.guard, fate

    def doubled(self):
        return {text: len(cids) for text, cids in self.deliveries.items() if len(cids) > 1}


def key_of(authorization):
    """The application whose credential a call carries."""
    try:
        return base64.b64decode(authorization.split(" ")[1]).decode().split(":")[0]
    except (IndexError, ValueError):
        return "?"
