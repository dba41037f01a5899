"""Callers: single exchanges, exchanges that are broken off, and many of both at once."""

import asyncio
import base64
import hashlib
import itertools
import json
import socket
import struct
import time

ANSWER_MAX = 40
NAMES = itertools.count(1)


class Unanswered(Exception):
    """A request got no answer."""


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    @property
    def reason(self):
        return self.fields.get("x-jpush-gateway-reason")

    @property
    def retry_after(self):
        return int(self.fields["retry-after"])

    def __str__(self):
        return f"{self.status} {self.reason} retry-after={self.fields.get('retry-after')} {self.body[:200]!r}"


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


def request(method, path, token, body=b"", fields=()):
    """The bytes of a request. `token` can name a tenant: `tenant:token`."""
    user, _, token = token.rpartition(":")
    if user:
        pair = base64.b64encode(f"{user}:{token}".encode()).decode()
        identity = f"Authorization: Basic {pair}"
    else:
        identity = f"Authorization: Bearer {token}"
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", identity, f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def tags(token, *fields):
    return request("GET", "/v3/tags", token, fields=fields)


def push(token, alert, *fields, cid=None, audience=None):
    text = {"platform": "all", "audience": audience or {"alias": ["anna"]}, "notification": {"alert": alert}}
    if cid:
        text["cid"] = cid
    return request("POST", "/v3/push", token, json.dumps(text).encode(), fields)


def broadcast(token, *fields):
    """A push, which draws on `push` and on `broadcast`."""
    return push(token, f"adversary {next(NAMES)}", *fields, audience="all")


def broadcast_later(token, *fields):
    """A schedule to everybody, which draws on `schedule` and on `broadcast`."""
    return schedule(token, *fields, audience="all")


def schedule(token, *fields, file=False, audience=None):
    """A schedule, which draws on `schedule`, and on `file` as well if it is for a target list. Each has a name of its own."""
    audience = audience or ({"file": {"file_id": "7d431e42dfa6a6d693ac2d04-a1b2"}} if file else {"alias": ["anna"]})
    text = {
        "name": f"adversary {next(NAMES)}",
        "trigger": {"single": {"time": "2030-01-01 12:00:00"}},
        "push": {"platform": "all", "audience": audience, "notification": {"alert": "later"}},
    }
    return request("POST", "/v3/schedules", token, json.dumps(text).encode(), fields)


def files(token, *fields):
    return request("GET", "/v3/files", token, fields=fields)


class Connection:
    """A connection that is kept for several exchanges."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def call(self, message):
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.writer.write(message)
            await self.writer.drain()
            answer = await asyncio.wait_for(read_answer(self.reader), ANSWER_MAX)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            raise Unanswered(repr(error)) from error
        except asyncio.CancelledError:
            self.close()
            raise
        if answer.fields.get("connection") == "close":
            self.close()
        return answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split(" ")[1])
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while (size := int((await reader.readline()).strip(), 16)) > 0:
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Answer(status, fields, body)


async def call(port, message):
    """Makes one exchange on a new connection."""
    connection = Connection(port)
    try:
        return await connection.call(message)
    finally:
        connection.close()


async def hang_up(port, message, dice):
    """Sends part of a request and disconnects, at a random byte and after a random time."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    try:
        cut = len(message) if dice.random() < 0.7 else dice.randint(0, len(message))
        writer.write(message[:cut])
        await writer.drain()
        # Often at once, sometimes after a long time.
        await asyncio.sleep(dice.choice([0, 0.001, 0.005, 0.02, 0.1, 0.5, 2]) * dice.random())
        if dice.random() < 0.3:
            await asyncio.wait_for(reader.read(dice.randint(1, 50)), 0.2)
    except (OSError, asyncio.TimeoutError):
        pass
    finally:
        if dice.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()


async def admin(port, method, path):
    answer = await call(
        port, f"{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    return json.loads(answer.body) if answer.body[:1] == b"{" else answer.body.decode()


async def until(what, is_so, patience=20):
    """Waits for something that must happen."""
    start = time.monotonic()
    while time.monotonic() - start < patience:
        try:
            if await is_so():
                return
        except (Unanswered, OSError, ValueError):
            pass
        await asyncio.sleep(0.03)
    raise AssertionError(f"{what}: not within {patience} s")
