"""What waits to be written to one connection: bounded by items and bytes, joined into few frames.

Frames are written as one batch per pass of the event loop, so that what is ready together travels together. When the
peer lags, adjacent pieces of a message merge: it loses granularity, never text. What does not fit overflows, which
ends the connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hub.gateway.text_frame import text_frame
from hub.protocol.frames import TEXT_FIELD, encoded_text

MAX_ITEMS = 4_096
SOFT_BYTES = 262_144  # replays wait above this, so that live events keep the space up to the hard bound
BATCH_BYTES = 65_536  # of one WebSocket frame, unless a single object is larger
LOOSE_PIECES = 256  # then they are joined: small objects take several times the memory that is counted


class Frame:
    """One server object as bytes, shared by every connection that gets it.

    `message` is set on `message.delta` only: such a frame holds pieces `index` … `index + n - 1` of that message, its
    `text` is its last field but `n`, and it may be merged with the next.
    """

    __slots__ = ("data", "index", "message", "n", "size")

    def __init__(self, data: bytes, message: str | None = None, index: int = 0, n: int = 1) -> None:
        self.data = data
        self.size = len(data)
        self.message = message
        self.index = index
        self.n = n


class _Merged:
    """Adjacent deltas of one message, becoming one frame when it is written."""

    __slots__ = ("_head", "_joined", "_texts", "n", "next_index", "size")

    def __init__(self, first: Frame) -> None:
        self._head = first.data.partition(TEXT_FIELD)[0]
        self._texts = [encoded_text(first.data)]
        self._joined = 0  # how many of them, from the first on, were joined
        self.n = first.n
        self.next_index = first.index + first.n
        self.size = first.size

    def add(self, frame: Frame) -> int:
        """Take the piece `next_index`; returns by how many bytes this frame grows."""
        text = encoded_text(frame.data)
        self._texts.append(text)
        if len(self._texts) - self._joined > LOOSE_PIECES:
            self._texts[self._joined :] = [b"".join(self._texts[self._joined :])]
            self._joined += 1
        self.n += frame.n
        self.next_index += frame.n
        self.size += len(text)
        return len(text)

    @property
    def data(self) -> bytes:
        return b'%b%b%b","n":%d}}' % (self._head, TEXT_FIELD, b"".join(self._texts), self.n)


class Writer(Protocol):
    """What an outbox needs of a transport: asyncio's and uvloop's have it. There is nothing of ours in between: with
    1,000 connections the memory that is touched for each token is what it costs."""

    def write(self, data: bytes, /) -> None: ...


class Outbox:
    """The way out of one connection.

    `transport` takes one WebSocket frame with each `write`. After `hold`, which that may call, nothing is written until
    `resume` is called. `overflow` is called once, when the bounds are exceeded; the outbox is closed then.
    """

    __slots__ = (
        "_blocked",
        "_direct",
        "_items",
        "_loop",
        "_max_bytes",
        "_merging",
        "_overflow",
        "_rooms",
        "_scheduled",
        "_transport",
        "_waiting",
        "closed",
        "pending_bytes",
    )

    def __init__(self, transport: Writer, overflow: Callable[[], None], *, max_bytes: int) -> None:
        self.closed = False
        self.pending_bytes = 0  # not handed to the transport yet
        self._rooms = 0  # that put into it
        self._transport = transport
        # The transport, while `pass_on` may write to it: this alone is looked at for most tokens.
        self._direct: Writer | None = None
        self._overflow = overflow
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._items: deque[Frame | _Merged] | None = None  # None when empty: an idle connection holds no queue
        self._merging: dict[str, _Merged] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._blocked = False
        self._scheduled = False

    def enter(self) -> None:
        """One more room puts into it."""
        self._rooms += 1
        self._aim()

    def leave(self) -> None:
        """One room less."""
        self._rooms -= 1
        self._aim()

    def put(self, frame: Frame) -> None:
        """Send `frame` after everything put before. Never blocks; does nothing when the outbox is closed."""
        if self.closed:
            return
        if self.pending_bytes + frame.size >= BATCH_BYTES:
            self.flush()
        if self._items is None:
            self._items = deque()
            self._direct = None
        if self._blocked:
            self._collect(self._items, frame)
            return
        self._items.append(frame)
        self.pending_bytes += frame.size
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def pass_on(self, wire: bytes) -> bool:
        """Send a finished WebSocket frame that is shared with others; False when something is pending or may come from
        elsewhere in this pass of the loop: what is in it is to be put then, and travels with the rest."""
        direct = self._direct
        if direct is None:
            return False
        direct.write(wire)
        return True

    def _aim(self) -> None:
        free = self._items is None and not self._blocked and self._rooms == 1
        self._direct = self._transport if free else None

    def flush(self) -> None:
        """Write what is pending, as far as the transport takes it now."""
        while self._items and not self._blocked:
            first = self._items.popleft()
            size = first.size
            if self._items:
                data, size = self._join(self._items, first)
            else:  # by far the most frequent
                data = first.data
            self.pending_bytes -= size
            self._transport.write(text_frame(data))
            self._merging = None
        if not self._items:
            self._items = None
            self._aim()
        if self.pending_bytes <= SOFT_BYTES:
            self._wake()

    def _join(self, items: deque[Frame | _Merged], first: Frame | _Merged) -> tuple[bytes, int]:
        """`first` and as many more as go into one batch, and how much is not pending any more."""
        batch, size, joined = [first.data], first.size, first.size
        while items and joined + items[0].size < BATCH_BYTES:
            item = items.popleft()
            batch.append(item.data)
            size += item.size
            joined += item.size + 1
        return b"\n".join(batch), size

    def hold(self) -> None:
        """The transport takes no more for now, or never again."""
        self._blocked = True
        self._direct = None

    def resume(self) -> None:
        """The transport takes more."""
        if not self.closed:
            self._blocked = False
            self.flush()

    async def space(self) -> None:
        """Wait until the outbox is under its soft bound, or closed.

        It ends in any case: a peer that makes no progress loses its connection (`HubWebSocket.stall_s`).
        """
        while self.pending_bytes > SOFT_BYTES and not self.closed:
            waiter = self._loop.create_future()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(waiter)
            await waiter

    def close(self) -> None:
        """Drop what is pending and take nothing more."""
        self.closed = self._blocked = True
        self._items = self._merging = self._direct = None
        self.pending_bytes = 0
        self._wake()

    def _collect(self, items: deque[Frame | _Merged], frame: Frame) -> None:
        """Keep a frame that cannot be written now."""
        before = self.pending_bytes
        if frame.message is None:
            # Pieces move over other messages' pieces only: moved over a snapshot of their own message, they would be
            # lost to a client that takes the snapshot's text for the whole.
            self._merging = None
            items.append(frame)
            self.pending_bytes += frame.size
        else:
            self._merge(items, frame, frame.message)
        too_large = self.pending_bytes > self._max_bytes and before > SOFT_BYTES  # one huge frame alone may pass
        if too_large or len(items) > MAX_ITEMS:
            self.close()
            self._overflow()

    def _merge(self, items: deque[Frame | _Merged], frame: Frame, message: str) -> None:
        if self._merging is None:
            self._merging = {}
        last = self._merging.get(message)
        if last is not None and last.next_index == frame.index:
            self.pending_bytes += last.add(frame)
            return
        self._merging[message] = merged = _Merged(frame)
        items.append(merged)
        self.pending_bytes += merged.size

    def _scheduled_flush(self) -> None:
        self._scheduled = False
        self.flush()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.done():
                waiter.set_result(None)
