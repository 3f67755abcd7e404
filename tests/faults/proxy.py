"""A TCP proxy that breaks connections in every way a network does."""

import asyncio
import random
from collections.abc import Awaitable, Callable

CHUNK = 65_536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DRIP_S = 0.01
Sieve = Callable[[bytes], bytes]
Dial = Callable[[], Awaitable[Streams]]


class Proxy:
    """Forwards `127.0.0.1:port` to what `dial` reaches. `delay_s` and `drip` may be changed at any time.

    `delay_s` is added to each piece in each direction; `drip` bytes are sent at once, every 10 ms (0: as they come).
    `sieve` makes, for each connection, what changes the bytes that come back; `tap` is told what goes there.
    """

    def __init__(self, dial: Dial, rng: random.Random, sieve: Callable[[], Sieve] | None = None) -> None:
        self._dial = dial
        self._rng = rng
        self.sieve = sieve
        self.delay_s = 0.0
        self.drip = 0
        self.tap: Callable[[bytes], None] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    async def start(self, port: int = 0) -> None:
        """Listen; after a stop with the port it had."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, end everything."""
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- faults

    def cut(self, share: float = 1.0) -> None:
        """Reset this share of the connections."""
        for writer in list(self._writers):
            if self._rng.random() < share:
                writer.transport.abort()

    def half_close(self) -> None:
        """Say on every connection, in both directions, that nothing more comes; what comes back still passes."""
        for writer in list(self._writers):
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    def freeze(self) -> None:
        """Nothing passes any more, nothing is closed; new connections are taken and stay silent, too."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Reset everything, and every new connection."""
        self._refusing = True
        self.cut()

    def heal(self) -> None:
        """As if nothing had been."""
        self.delay_s, self.drip, self._refusing = 0.0, 0, False
        self._flowing.set()

    # ---- traffic

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._flowing.wait()
            if self._refusing:
                return
            there_reader, there_writer = await self._dial()
            writers.append(there_writer)
            self._writers.update(writers)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, there_writer, None, there=True))
                both.create_task(self._pump(there_reader, writer, self.sieve() if self.sieve is not None else None))
        except* (OSError, RuntimeError):  # the latter: something was to be said after the end of a half-closed one
            pass
        finally:
            self._writers.difference_update(writers)
            for end in writers:
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sieve: Sieve | None, *, there: bool = False
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            if sieve is not None:
                data = sieve(data)
            elif self.tap is not None and there:
                self.tap(data)
            while data:
                size = self.drip or len(data)
                writer.write(data[:size])
                data = data[size:]
                if data:
                    await asyncio.sleep(DRIP_S)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            await self._flowing.wait()
            writer.write_eof()
