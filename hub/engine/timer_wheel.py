"""Many waits of one event loop that share its timers."""

import asyncio
import heapq
import math
from collections.abc import Awaitable

LONG_S = 10.0  # a longer wait has a timer of its own: cancelled, it is gone at once
EARLY_MS = 0.01  # 0.57 s are a little less than 570 ms


class TimerWheel:
    """Wakes all who wait for the same millisecond with one timer; the loop's own are no finer.

    A timer for each of 1,000 waits is a heap of as many nodes, each in a line of memory of its own that has left the
    processor's cache meanwhile: taking the first one out cost as much as all else that is done when it comes.
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[asyncio.Future[None]]] = {}
        self._order: list[int] = []  # the slots, as a heap
        self._timer: asyncio.TimerHandle | None = None  # for the first of them

    def until(self, moment: float, loop: asyncio.AbstractEventLoop) -> Awaitable[None]:
        """Await it to wait until then, by the clock of the running loop; a millisecond longer at most. When the moment
        has passed, whatever else is ready has its turn first."""
        left = moment - loop.time()
        if left <= 0:
            return asyncio.sleep(0)
        come: asyncio.Future[None] = loop.create_future()
        if left > LONG_S:
            timer = loop.call_at(moment, _comes, come)
            come.add_done_callback(lambda _: timer.cancel())
            return come
        ms = math.ceil(moment * 1000)
        slot = self._slots.get(ms)
        if slot is not None:
            slot.append(come)
            return come
        self._slots[ms] = [come]
        heapq.heappush(self._order, ms)
        if self._order[0] == ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(ms / 1000, self._turn, loop)
        return come

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        order, now = self._order, loop.time() * 1000 + EARLY_MS
        while order and order[0] <= now:
            for come in self._slots.pop(heapq.heappop(order)):
                _comes(come)
        self._timer = loop.call_at(order[0] / 1000, self._turn, loop) if order else None


def _comes(moment: asyncio.Future[None]) -> None:
    if not moment.done():  # else its waiter was cancelled
        moment.set_result(None)
