"""Publishes tokens: many at once in one write, as fast as asked or as fast as they arrive."""

import asyncio
import time
from collections.abc import Callable

from loadtests.bench.crowd import Crowd

TICK_S = 0.002
WINDOW = 2048  # tokens under way when the server is to be as fast as it can


class Publisher(asyncio.Protocol):
    """A connection to Redis. `token(session, number)` gives the channel and the payload of one."""

    def __init__(self, crowd: Crowd, sessions: int, watchers: int, token: Callable[[int, int], tuple[bytes, bytes]]):
        self._crowd = crowd
        self._sessions = sessions
        self._watchers = watchers
        self._token = token
        self._turn = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    async def paced(self, per_second: float, seconds: float) -> int:
        """Publish so many deliveries a second; how many deliveries that makes."""
        started, published = time.perf_counter(), 0
        while (now := time.perf_counter() - started) < seconds:
            due = int(now * per_second / self._watchers) - published
            self._publish(due)
            published += due
            await asyncio.sleep(TICK_S)
        return published * self._watchers

    async def saturating(self, seconds: float) -> int:
        """Publish as fast as it is delivered; how many deliveries that makes."""
        until, published, before = time.perf_counter() + seconds, 0, self._crowd.delivered
        # What is under way is bounded in deliveries, so that the same memory is held whatever the audience.
        window = max(WINDOW, 4 * self._watchers)
        while time.perf_counter() < until:
            under_way = published * self._watchers - (self._crowd.delivered - before)
            due = min((window - under_way) // self._watchers, WINDOW)
            if due > 0:
                self._publish(due)
                published += due
            await asyncio.sleep(0 if due > 0 else 0.0005)
        return published * self._watchers

    def close(self) -> None:
        """Go."""
        if self._transport is not None:
            self._transport.close()

    def _publish(self, count: int) -> None:
        assert self._transport is not None
        members, sessions, words = self._crowd.members, self._sessions, []
        for _ in range(count):
            number, session = divmod(self._turn, sessions)
            self._turn += 1
            channel, payload = self._token(session, number)
            words.append(
                b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(payload), payload)
            )
            # Members come session by session within a round of watchers: see `places` of the contenders.
            for member in members[session::sessions]:
                if member.timed:
                    member.sent_at.append(time.perf_counter())
        self._transport.write(b"".join(words))
