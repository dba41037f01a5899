"""A Redis of a trial's own, with everything that can become of it, and a relay on the way to it."""

import asyncio
import os
import signal
import shutil

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
USER, PASSWORD = "gateway", "storePasswordForAdversary"


class Redis:
    """Its default user is ours; the gateways have one of their own."""

    def __init__(self, folder, port):
        self.folder, self.port, self.process = folder, port, None

    async def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", self.folder, "--enable-debug-command", "yes"]
        null = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=null, stderr=null)
        for _ in range(200):
            if self.process.returncode is not None:
                raise RuntimeError("redis-server did not start")
            try:
                if await self.command("PING") == b"+PONG\r\n":
                    break
            except OSError:
                pass
            await asyncio.sleep(0.02)
        await self.rights("+@all", "~*", "&*")

    async def rights(self, *rules):
        await self.command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *rules)

    async def command(self, *words):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in (w.encode() for w in words)))
            return await asyncio.wait_for(reader.read(65536), 5)
        finally:
            writer.close()

    def signal(self, number):
        self.process.send_signal(number)

    async def kill(self):
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def restart(self, keeps):
        """Under another run id: knowing nothing, everything, or what it knew some time ago."""
        dump, old = os.path.join(self.folder, "dump.rdb"), os.path.join(self.folder, "old.rdb")
        if keeps == "everything":
            await self.command("SAVE")
        await self.kill()
        if keeps == "nothing" and os.path.exists(dump):
            os.remove(dump)
        if keeps == "some" and os.path.exists(old):
            shutil.copy(old, dump)
        await self.start()

    async def remember(self):
        """A copy that a later restart begins with."""
        await self.command("SAVE")
        shutil.copy(os.path.join(self.folder, "dump.rdb"), os.path.join(self.folder, "old.rdb"))


class Relay:
    """Passes bytes on: late, not at all, or answers for the store."""

    def __init__(self, target):
        self.target, self.mode, self.delay, self.garbage = target, "pass", 0.0, b""
        self.writers, self.tasks = set(), set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"redis://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def set(self, mode, delay=0.0):
        self.mode, self.delay = mode, delay
        if mode == "cut":
            for writer in list(self.writers):
                writer.transport.abort()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            if self.mode != "cut":
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
                self.writers.add(far_writer)
                try:
                    await asyncio.gather(self.ask(reader, writer, far_writer), self.bring(far_reader, writer))
                finally:
                    self.writers.discard(far_writer)
                    far_writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def ask(self, reader, writer, far):
        while piece := await reader.read(65536):
            if self.mode == "loading":
                # One answer for each command; the connections begin here, so none is cut in two.
                commands = sum(1 for line in piece.split(b"\r\n") if line[:1] == b"*")
                writer.write(LOADING * max(commands, 1))
            elif self.mode == "garbage":
                # And no more: answers that come after would be taken for those to other commands.
                writer.write(self.garbage)
                break
            elif self.mode != "hole":
                far.write(piece)
        far.close()

    async def bring(self, far, writer):
        loop, due = asyncio.get_running_loop(), 0.0
        while piece := await far.read(65536):
            if self.mode == "hole":
                continue
            # In order, also when the delay becomes shorter.
            due = max(due, loop.time() + self.delay)
            loop.call_at(due, self.write, writer, piece)
        writer.close()

    def write(self, writer, piece):
        if not writer.is_closing():
            writer.write(piece)
