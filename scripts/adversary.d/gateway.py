"""Gateway processes of one trial: configured, started, killed, reloaded."""

import asyncio
import os
import re
import signal
import socket

from callers import admin, digest, until

KEYS = {"shop": "7d431e42dfa6a6d693ac2d04", "market": "28a10c0904b5cd622aadaeb1", "spare": "e9fa2c9763debd20e7de1eb0"}
SECRET = "5e987ac6d2e04d95a9d8f0d1"


class Config:
    """A configuration file; everything in it can be changed and written again."""

    def __init__(self, vendor_port):
        self.url = f"http://127.0.0.1:{vendor_port}"
        self.port = self.admin_port = 0
        self.connect, self.response, self.guard = 0.3, 1.0, 0.4
        self.deadline = 30
        self.workers = 2
        self.budgets = {}
        self.tenants = {"shop": {}}
        self.keys = dict(KEYS)
        self.callers = {}
        self.more = []

    @property
    def attempt(self):
        return self.connect + self.response

    def write(self, folder):
        path = os.path.join(folder, "gateway.yaml")
        with open(path + ".new", "w") as file:
            file.write(self.yaml())
        os.replace(path + ".new", path)
        return path

    def yaml(self):
        lines = [
            f"listeners: [ {{ address: 127.0.0.1:{self.port} }} ]",
            f"admin: {{ address: 127.0.0.1:{self.admin_port} }}",
            f"workers: {self.workers}",
            f'vendor: {{ api: "{self.url}", device: "{self.url}", report: "{self.url}",'
            f" connect_timeout: {ms(self.connect)}, response_timeout: {ms(self.response)} }}",
            f"guard: {ms(self.guard)}",
            f"limits: {{ deadline: {self.deadline}s }}",
            "drain: { deadline: 5s }",
            "budgets:",
            *(f"  {name}: {budget(value)}" for name, value in self.budgets.items()),
            *self.more,
            "tenants:",
        ]
        for name, more in self.tenants.items():
            lines += [f"  {name}:", f"    app: {{ key: {self.keys[name]}, secret: {{ value: {SECRET} }} }}"]
            lines += [f"    {key}: {value}" for key, value in more.items()]
        lines.append("callers:")
        for name, more in self.callers.items():
            tenants = more.get("tenants", list(self.tenants))
            lines += [f"  {name}:", f'    tokens: [ {{ sha256: "{digest(token(name))}" }} ]']
            lines += [f"    tenants: [ {', '.join(tenants)} ]", '    allow: [ "*" ]']
            lines += [f"    {key}: {value}" for key, value in more.items() if key != "tenants"]
        return "\n".join(lines) + "\n"


def token(caller):
    return (caller + "TokenOfTheAdversary26abcdef")[:24]


def ms(seconds):
    return f"{round(seconds * 1000)}ms"


def budget(value):
    limit, window, *burst = value
    return f"{{ limit: {limit}, window: {ms(window)}{f', burst: {burst[0]}' if burst and burst[0] else ''} }}"


class Gateway:
    """One gateway process. Its log and its access log stay in its folder."""

    def __init__(self, binary, folder, config):
        self.binary, self.folder, self.config = binary, folder, config
        self.process, self.port, self.admin_port = None, 0, 0
        self.log = os.path.join(folder, f"log.{os.urandom(3).hex()}")
        self.access = self.log.replace("log.", "access.")
        self.is_dead = False

    async def spawn(self):
        path = self.config.write(self.folder)
        with open(self.log, "w") as log, open(self.access, "w") as access:
            command = [self.binary, "serve", "--config", path]
            null = asyncio.subprocess.DEVNULL
            self.process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=access, stderr=log)

    async def start(self):
        """Waits until it listens."""
        await self.spawn()

        async def listens():
            if self.process.returncode is not None:
                raise AssertionError(f"the gateway did not start: {self.text()}")
            found = re.search(r"admin listening address=\S+?:(\d+)", self.text())
            if found:
                self.admin_port = int(found[1])
                # A process that waits for its predecessor does not listen there yet.
                listening = re.search(r"INFO listening address=\S+?:(\d+)", self.text())
                self.port = self.config.port or int(listening[1])
            return bool(found)

        await until("the gateway listens", listens)
        return self

    def text(self):
        with open(self.log) as log:
            return re.sub(r"\x1b\[[0-9;]*m", "", log.read())

    def has_read(self, request_id):
        with open(self.access) as access:
            return f'"request_id":"{request_id}"' in access.read()

    async def kill(self):
        self.is_dead = True
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def stop(self):
        self.signal(signal.SIGTERM)

    def signal(self, number):
        """Sends a signal, unless the process has ended by itself."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def status(self):
        return await admin(self.admin_port, "GET", "/status")

    def cpu_seconds(self):
        """CPU time of the process since its start."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def reload(self):
        self.config.write(self.folder)
        return await admin(self.admin_port, "POST", "/reload")


def shared_port():
    """Reserves a port that several processes can listen on; no other program gets it while the socket is open."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("127.0.0.1", 0))
    return one, one.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]
