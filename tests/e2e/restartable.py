"""A hub that stops and starts again at the same address, as a restarted process would."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hub.app import serve
from hub.settings import Settings

START_TIMEOUT_S = 60.0


class Restartable:
    def __init__(self, settings: Settings, tasks: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._tasks = tasks
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._starts = 0
        # Bound for as long as this lives, without listening: nobody else on this machine is given the port meanwhile.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self._port: int = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen and wait until it may take traffic."""
        self._starts += 1
        self._stop = asyncio.Event()
        ready = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", self._port))
        node = f"test:{self._starts}:r"
        self._serving = self._tasks.create_task(serve(self._settings, [listener], node, ready.set, self._stop))
        async with asyncio.timeout(START_TIMEOUT_S):
            await ready.wait()

    async def stop(self) -> None:
        """Drain and go."""
        assert self._serving is not None
        self._stop.set()
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._serving

    def close(self) -> None:
        """Give the address back."""
        self._place.close()


@asynccontextmanager
async def restartable(settings: Settings) -> AsyncGenerator[Restartable]:
    async with asyncio.TaskGroup() as tasks:
        hub = Restartable(settings, tasks)
        await hub.start()
        try:
            yield hub
        finally:
            await hub.stop()
            hub.close()
