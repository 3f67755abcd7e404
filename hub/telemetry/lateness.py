"""How late the event loop is: everything a worker does waits at least as long."""

import asyncio

from hub.telemetry.times import Times

EVERY_S = 0.5


class LoopLateness:
    """Looks twice a second how long after its time a task gets its turn."""

    def __init__(self) -> None:
        self.times = Times()

    async def run(self) -> None:
        """Look, for ever. Ends by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.times.add(max(0.0, loop.time() - due))
