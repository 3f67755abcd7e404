"""When the rooms of a worker pass on what has come: at once, unless passing on is what keeps the worker busy."""

import asyncio
import time
from contextlib import suppress

from hub.gateway.audience import Audience
from hub.protocol.frames import now_ms, written_ms
from hub.telemetry.times import Times

MAX_PAUSE_S = 0.015
MIN_PAUSE_S = 0.001  # timers of the loop are no finer
SHORT_S = 0.0002  # the sockets take a few times as long as the rooms: after a shorter pass it is not worth a look
SAMPLED = 16  # one in so many passes is timed, from the model to the sockets


class Passing:
    """`add` takes a room that has something to pass on; `read_ended` is to be called after each read from Redis.

    What came in one read goes on together: 100 tokens of a session are one frame for its followers, and one of each of
    100 sessions needs no callback of its own. After a pass that took long the next one waits as long, `MAX_PAUSE_S` at
    most, and what comes meanwhile joins: what is sent to a socket costs mostly per frame, so that an audience of 1,000
    would else take all of the worker's time for a few tokens. A worker that is not busy never waits.
    """

    def __init__(self) -> None:
        self.times = Times()
        self._ready: list[Audience] = []
        self.add = self._ready.append  # one object for all: each of its own would be out of the cache
        self._passes = 0
        self._pausing = False

    def read_ended(self) -> None:
        """Passes on what has come, now or after the pause."""
        if self._ready and not self._pausing:
            self._pass_on()

    def _pass_on(self) -> None:
        # The clock of the thread: a machine that is busy with others is no reason to wait even longer.
        started = time.thread_time()
        first: bytes | None = None
        for audience in self._ready:
            first = audience.pass_on() or first
        self._ready.clear()
        if first is None:
            return
        if self._passes % SAMPLED == 0:
            with suppress(ValueError):  # whatever it is, it was no frame of ours
                self.times.add(max(0, now_ms() - written_ms(first)) / 1000)
        self._passes += 1
        if time.thread_time() - started > SHORT_S:
            self._pausing = True
            # By then the loop has written to the sockets, which is most of the work.
            asyncio.get_running_loop().call_soon(self._written, started)

    def _written(self, started: float) -> None:
        took = time.thread_time() - started
        if took < MIN_PAUSE_S:
            self._pause_ended()
        else:
            loop = asyncio.get_running_loop()
            # Not from the timer itself: what is passed on there uvloop writes later than it calls `_written`.
            loop.call_later(min(took, MAX_PAUSE_S), loop.call_soon, self._pause_ended)

    def _pause_ended(self) -> None:
        self._pausing = False
        self.read_ended()
