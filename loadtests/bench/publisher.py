"""Publishes tokens: many at once in one write, as fast as asked or as fast as they arrive."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence

from loadtests.bench.crowd import Crowd
from loadtests.wire import TEXT, Wire, masked, upgrade

TICK_S = 0.002
WINDOW = 2048  # tokens under way when the server is to be as fast as it can

Token = tuple[int, bytes, bytes]  # its session, the channel, the payload


class Link(ABC):
    """The way of tokens to the server."""

    @abstractmethod
    def send(self, tokens: Sequence[Token]) -> None:
        """Send them all, those of a session in their order."""

    @abstractmethod
    def close(self) -> None:
        """Go."""


class RedisLink(asyncio.Protocol, Link):
    """A connection to Redis."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, tokens: Sequence[Token]) -> None:
        assert self._transport is not None
        words = [
            b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(payload), payload)
            for _, channel, payload in tokens
        ]
        self._transport.write(b"".join(words))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class SocketsLink(Link):
    """A WebSocket for each session, to a server that takes tokens itself: what it answers is not looked at."""

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires

    @classmethod
    async def open(cls, url: str, paths: Sequence[str]) -> "SocketsLink":
        """Connect to all paths. Raises `OSError`, `TimeoutError`."""
        return cls([await upgrade(url, path, (), lambda _: None) for path in paths])

    def send(self, tokens: Sequence[Token]) -> None:
        frames = defaultdict[int, list[bytes]](list)
        for session, _, payload in tokens:
            frames[session].append(masked(TEXT, payload))
        for session, each in frames.items():
            self._wires[session].send_frames(b"".join(each))

    def close(self) -> None:
        for wire in self._wires:
            wire.close()


class Publisher:
    """Publishes over a link. `token(session, number)` gives the channel and the payload of one."""

    def __init__(
        self,
        crowd: Crowd,
        sessions: int,
        watchers: int,
        token: Callable[[int, int], tuple[bytes, bytes]],
        link: Link,
    ) -> None:
        self._crowd = crowd
        self._sessions = sessions
        self._watchers = watchers
        self._token = token
        self._link = link
        self._turn = 0

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

    def _publish(self, count: int) -> None:
        members, sessions, tokens = self._crowd.members, self._sessions, list[Token]()
        for _ in range(count):
            number, session = divmod(self._turn, sessions)
            self._turn += 1
            tokens.append((session, *self._token(session, number)))
            # Members come session by session within a round of watchers: see `places` of the contenders.
            for member in members[session::sessions]:
                if member.timed:
                    member.sent_at.append(time.perf_counter())
        self._link.send(tokens)
