"""A Redis server for one trial with the faults it can have, and a relay on the connection to it."""

import asyncio
import os
import signal
import shutil

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
USER, PASSWORD = "gateway", "storePasswordForAdversary"


class Redis:
    """The server. The trial uses its default user; the gateways have a user of their own."""

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
            writer.write(
                b"*%d\r\n" % len(words)
                + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in (w.encode() for w in words))
            )
            return await asyncio.wait_for(reader.read(65536), 5)
        finally:
            writer.close()

    def signal(self, number):
        self.process.send_signal(number)

    async def kill(self):
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def restart(self, keeps):
        """Restarts it, which changes its run id: empty, with all its data, or with an older copy."""
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
        """Makes a copy that a later restart starts from."""
        await self.command("SAVE")
        shutil.copy(os.path.join(self.folder, "dump.rdb"), os.path.join(self.folder, "old.rdb"))


class Relay:
    """Passes bytes on, delays or drops them, or answers for the store. As in TCP, no stream lacks bytes in its middle: a
    connection that lost some passes nothing any more."""

    # In these modes a connection is closed when the mode begins and when it ends.
    ABRUPT = {"cut", "loading", "garbage"}

    def __init__(self, target):
        self.target, self.mode, self.delay, self.garbage = target, "pass", 0.0, b""
        self.writers = set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"redis://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def set(self, mode, delay=0.0):
        abrupt = mode != self.mode and self.ABRUPT & {mode, self.mode}
        self.mode, self.delay = mode, delay
        if abrupt:
            for writer in list(self.writers):
                writer.transport.abort()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            if self.mode in ("loading", "garbage"):
                await self.answer(reader, writer)
            elif self.mode != "cut":
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
                self.writers.add(far_writer)
                lost = asyncio.Event()
                try:
                    await asyncio.gather(self.pass_on(reader, far_writer, lost), self.pass_on(far_reader, writer, lost))
                finally:
                    self.writers.discard(far_writer)
                    far_writer.close()
        except OSError:
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def answer(self, reader, writer):
        """Answers in place of the store."""
        while piece := await reader.read(65536):
            # One answer for each command; commands are so short that none is split.
            commands = sum(1 for line in piece.split(b"\r\n") if line[:1] == b"*")
            writer.write(LOADING * commands if self.mode == "loading" else self.garbage)

    async def pass_on(self, reader, writer, lost):
        loop, due = asyncio.get_running_loop(), 0.0
        while piece := await reader.read(65536):
            if self.mode == "hole":
                lost.set()
            if not lost.is_set():
                # In order, also when the delay gets shorter.
                due = max(due, loop.time() + self.delay / 2)
                loop.call_at(due, self.write, writer, piece)
        writer.close()

    def write(self, writer, piece):
        if not writer.is_closing():
            writer.write(piece)
