"""Many WebSocket clients in one loop that do nothing but count tokens: they cost less than any server."""

import asyncio
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from loadtests.wire import CLOSE, PONG, TEXT, masked

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455: the limit in C knows its answer by heart
HANDSHAKE_S = 60.0
HANDSHAKES_AT_ONCE = 32
# A ping of WebSocket and one of engine.io, and the answers; no token contains either.
PINGS = ((b"\x89\x00", partial(masked, PONG, b"")), (b"\x81\x012", partial(masked, TEXT, b"3")))
PING_WITH_WORDS = b"\x89"  # uvicorn's: it is told by its place at the beginning, where an idle connection has it
SAMPLED = 32  # one connection in so many is timed


@dataclass(frozen=True)
class Place:
    """Where a client connects, and what it says there: the first when the server has spoken, each when it has answered
    the one before."""

    path: str
    headers: tuple[str, ...] = ()
    says: tuple[bytes, ...] = ()


@dataclass
class Crowd:
    """All clients together. `marker` is what every token contains once and nothing else does."""

    port: int
    marker: bytes
    members: list["Member"] = field(default_factory=list)
    delivered: int = 0
    lags: list[float] = field(default_factory=list)

    async def gather(self, places: list[Place]) -> None:
        """Connect them all. Raises `TimeoutError`, `ConnectionError`."""
        slots = asyncio.Semaphore(HANDSHAKES_AT_ONCE)

        async def one(number: int, place: Place) -> "Member":
            async with slots, asyncio.timeout(HANDSHAKE_S):
                loop = asyncio.get_running_loop()
                _, member = await loop.create_connection(
                    lambda: Member(self, place, timed=number % SAMPLED == 0), "127.0.0.1", self.port
                )
                await member.ready
                return member

        self.members = await asyncio.gather(*(one(n, place) for n, place in enumerate(places)))

    @property
    def lost(self) -> int:
        """How many have lost their connection."""
        return sum(member.lost for member in self.members)

    def disperse(self) -> None:
        """Close them all."""
        for member in self.members:
            member.close()


class Member(asyncio.Protocol):
    """One client. It does not look into frames: it counts the marker in what comes."""

    def __init__(self, crowd: Crowd, place: Place, *, timed: bool) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        self.sent_at: deque[float] = deque()
        self.timed = timed
        self._crowd = crowd
        self._place = place
        self._says = deque(place.says)
        self._head: bytes | None = b""  # of the handshake's answer, until it is whole
        self._tail = b""
        self._transport: asyncio.Transport | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        lines = [
            f"GET {self._place.path} HTTP/1.1", f"Host: 127.0.0.1:{self._crowd.port}", "Upgrade: websocket",
            "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", *self._place.headers,
        ]  # fmt: skip
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = None
            if b" 101 " not in head.split(b"\r\n")[0] + b" ":
                self.ready.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
                return
        if not self.ready.done():
            self._step(bool(data))
        for ping, pong in PINGS:
            if ping in data:
                self._write(pong())
        if data[:1] == PING_WITH_WORDS and data[1:2] != b"\0":
            self._write(masked(PONG, data[2 : 2 + data[1]]))
        crowd = self._crowd
        found = (self._tail + data).count(crowd.marker)
        self._tail = data[1 - len(crowd.marker) :]  # a marker may come in two parts
        crowd.delivered += found
        if self.timed and found:
            now = time.perf_counter()
            for _ in range(min(found, len(self.sent_at))):
                crowd.lags.append(now - self.sent_at.popleft())

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = not self._closing
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("closed during the handshake"))

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._write(masked(CLOSE, struct.pack("!H", 1000)))
            self._transport.close()

    def _step(self, answered: bool) -> None:
        """Say the next thing when the server has spoken; ready when it has answered the last one, or none is to say."""
        if answered and self._says:
            self._write(masked(TEXT, self._says.popleft()))
        elif answered or not self._place.says:
            self.ready.set_result(None)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
