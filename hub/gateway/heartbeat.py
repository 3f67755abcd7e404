"""Signs of life of all connections of a worker, from one sweep."""

import asyncio
import random

from hub.gateway.transport import HubWebSocket

TICK_S = 1.0


class Heartbeat:
    """Pings every connection once per interval, each at its own moment, and drops those that stay silent.

    A dead link is found within 1.6 intervals: one until the ping, the rest for the answer.
    """

    def __init__(self, interval_s: int) -> None:
        self._slots: list[set[HubWebSocket]] = [set() for _ in range(interval_s)]
        self._answer_ticks = max(1, interval_s * 3 // 5)
        self._now = 0
        self._anybody = asyncio.Event()  # set while there may be connections

    def add(self, transport: HubWebSocket) -> int:
        """Watch a connection; returns its slot, for `remove`. The slot is random: crowds that arrive together part."""
        slot = random.randrange(len(self._slots))  # noqa: S311  # spreads load, protects nothing
        self._slots[slot].add(transport)
        self._anybody.set()
        return slot

    def remove(self, transport: HubWebSocket, slot: int) -> None:
        self._slots[slot].discard(transport)

    async def run(self) -> None:
        """Sweep for ever; stand still while nobody is here."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if not any(self._slots):
                self._anybody.clear()
                await self._anybody.wait()
                due = loop.time()
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())
            self.tick()

    def tick(self) -> None:
        """One step of the sweep."""
        count = len(self._slots)
        if count > 1:
            for transport in list(self._slots[(self._now - self._answer_ticks) % count]):
                if transport.is_silent:
                    transport.drop()
        for transport in list(self._slots[self._now % count]):
            if transport.is_silent:
                transport.drop()
            else:
                transport.ping()
        self._now += 1
