"""One open message on its way out: what is added while a piece is under way collects and goes out as the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

import orjson

from hub.domain.ids import SessionId
from hub.domain.run import Lease
from hub.protocol.frames import DeltaFrames, now_ms, stamp
from hub.protocol.pieces import AgentAuthor
from hub.protocol.text import storable
from hub.relay import envelope, keys, open_messages
from hub.relay.pipeline import Pipeline, ignored
from hub.relay.wire import Reply, encode, encode_words

TTL_S = 600
REFRESH_MS = 120_000  # a lifetime that is raised so often does not end while anything is written
MAX_PIECE = 8_192  # characters; at 6 bytes each in JSON it still fits an envelope
MAX_UNSENT = 65_536  # characters a run may be ahead of Redis

# What the scripts answer.
_DONE, _REFUSED, _NOT_WHOLE, _NO_FENCE = 1, 0, -1, -2


@dataclass(frozen=True, slots=True)
class Outlet:
    """What all streams of a worker send through. `ready` asks for the stream's `next_piece` when the next batch leaves,
    `deliver` reaches this worker's own rooms, `park` is told of streams whose fence is missing."""

    pipeline: Pipeline
    ready: Callable[["MessageStream"], None]
    deliver: Callable[[bytes, bytes], None]
    park: Callable[["MessageStream"], None]


class Piece:
    """Neighbours of one kind that leave together; `ms` is when the first of them came. It is one object all the way
    from the model to the answer of Redis, for there is one for nearly every token.

    It leaves with `words`, the encoded arguments that go with the stream's keys: those of `whole.lua` when `is_whole`,
    else of `pieces.lua`. `payload` is what is published; `index` is that of the next delta, and `size` how many bytes
    Redis keeps of the message, when this has left.
    """

    __slots__ = ("index", "is_whole", "ms", "payload", "reasoning", "size", "texts", "words")

    words: bytes
    payload: bytes
    is_whole: bool
    index: int
    size: int

    def __init__(self, reasoning: bool, texts: list[str], ms: int) -> None:
        self.reasoning = reasoning
        self.texts = texts  # none: the text so far, for a Redis that has not all of it
        self.ms = ms


class MessageStream:
    """The first piece leaves at once, later ones as large as Redis is slow; the pipeline gives the pace.

    While Redis is away pieces go to this worker's own rooms; when it is back, or has lost the beginning, everybody
    gets a `message.snapshot` once. `refused` is set when another lease holds the session: nothing leaves any more.
    """

    # In memory they are in this order, and those that a token needs are side by side: with 1,000 sessions each further
    # line of memory is out of the cache.
    __slots__ = (  # noqa: RUF023
        "refused",
        "_closed",
        "_text",
        "_first",
        "_later",
        "_unsent",
        "_busy",
        "_outlet",
        "_behind",
        "index",
        "_refreshed_ms",
        "_size",
        "_delta_payload",
        "_epoch",
        "keys",
        "_waiters",
        "_frames",
        "whole_keys",
        "lease",
        "message",
        "channel",
        "_turn",
        "_author",
        "_seq",
        "_text_key",
        "_reasoning_index",
    )

    def __init__(self, outlet: Outlet, lease: Lease, message: str, turn: int, author: AgentAuthor, seq: int) -> None:
        self.lease = lease
        self.message = message
        self.index = 0  # of the next delta
        self.refused = False
        self.channel = keys.channel(lease.session)
        self._outlet = outlet
        self._turn = turn
        self._author = author
        self._seq = seq
        self._frames = DeltaFrames(lease.session, lease.run, message, turn, author.name, author.display_name)
        # All that is the same in every delta, as one object: six would be out of the cache six times.
        self._delta_payload = envelope.delta_format(lease.session, message, seq) + self._frames.delta_format()
        self._text_key = keys.text_prefix(lease.session) + message.encode()
        self._epoch = encode_words(b"%d" % lease.epoch)
        # Keys are the same for every piece: encoded once.
        fence, text, channel = (encode_words(key) for key in (keys.fence(lease.session), self._text_key, self.channel))
        self.keys = fence + text + channel
        self.whole_keys = fence + text + encode_words(keys.open_messages(lease.session)) + channel
        self._text = StringIO()  # a list of its tokens would take ten times the room
        # What waits to leave: `_later` is None, or has what comes after `_first`. There is seldom more than one, and a
        # queue for it would be three more lines of memory.
        self._first: Piece | None = None
        self._later: deque[Piece] | None = None
        self._unsent = 0
        self._reasoning_index = 0
        self._size = 0  # bytes that Redis keeps of the message
        self._refreshed_ms = now_ms()
        self._behind = False  # Redis has not all of the text: it gets it next
        self._busy = False  # announced, under way or parked
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def text(self) -> str:
        """All that was added."""
        return self._text.getvalue()

    def add(self, text: str) -> None:
        """The next piece of the message. Never waits."""
        text = storable(text)
        self._text.write(text)
        self._enqueue(False, text)

    def add_reasoning(self, text: str) -> None:
        """The next piece of what the model thinks aloud; it is shown, not kept."""
        self._enqueue(True, storable(text))

    @property
    def is_full(self) -> bool:
        """Whether as much waits to leave as may: `space` would wait."""
        return self._unsent >= MAX_UNSENT and not self._done()

    async def space(self) -> None:
        """Returns when less than `MAX_UNSENT` characters wait to leave: at once, unless Redis is slow."""
        while self.is_full:
            await self._progress()

    async def drain(self, timeout_s: float) -> bool:
        """Waits until everything added has left; False when it has not in time or is refused."""
        try:
            async with asyncio.timeout(timeout_s):
                while (self._busy or self._first) and not self._done():
                    await self._progress()
        except TimeoutError:
            return False
        return not self._done()

    def close(self) -> None:
        """Ends the stream, when what ends the message has been published: drops what waits and what Redis keeps."""
        if self._closed:
            return
        self._closed = True
        self._drop_queue()
        if not self.refused:
            for command in forget(self.lease.session, [self.message]):
                self._outlet.pipeline.submit(command, ignored)

    # ---- for the publisher

    def next_piece(self) -> Piece | None:
        """What is to leave now; None when nothing is left to say. `answered` is to be called with what came of it."""
        piece = self._first
        if self.refused or self._closed or (piece is None and not self._behind):
            self._busy = False
            return None
        if piece is None or self._behind:
            return self._all_of_it()
        if self._later is None:
            self._first = None
        else:
            self._first = self._later.popleft()
            self._later = self._later or None
        if len(piece.texts) > 1:
            piece.texts = ["".join(piece.texts)]
        text = piece.texts[0]
        if len(text) > MAX_PIECE:
            self._put_first(Piece(piece.reasoning, [text[MAX_PIECE:]], piece.ms))
            text = text[:MAX_PIECE]
            piece.texts = [text]
        if piece.ms - self._refreshed_ms > REFRESH_MS:
            self._refresh(piece.ms)
        if piece.reasoning:
            self._reasoning(text, piece)
        elif self.index:
            self._delta(text, piece)
        else:
            self._whole(text, piece, self._payload(text, piece.ms))
        return piece

    def answered(self, piece: Piece, reply: Reply) -> None:
        """What came of a piece: the script's answer, or an exception when Redis did not take it."""
        if reply == _DONE:
            self._left(piece)
            self._behind = False
            if self._first:
                self._outlet.ready(self)
            else:
                self._busy = False
            if self._waiters:
                self._wake()
            return
        if reply == _NO_FENCE:
            if piece.texts:
                self._put_first(piece)
            self._outlet.park(self)
            return
        if reply == _REFUSED:
            self.refused = True
            self._drop_queue()
        else:
            self._left(piece)
            self._behind = reply == _NOT_WHOLE
        if isinstance(reply, Exception):
            self._outlet.deliver(self.channel, piece.payload)
        self._go_on()

    def unpark(self, held: bool) -> None:
        """The fence is there again, or (`held` false) the lease is lost."""
        if not held:
            self.refused = True
            self._drop_queue()
        self._go_on()

    # ---- parts

    def _done(self) -> bool:
        return self.refused or self._closed

    async def _progress(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _enqueue(self, reasoning: bool, text: str) -> None:
        if self.refused or self._closed or not text:
            return
        first = self._first
        if first is None:
            self._first = Piece(reasoning, [text], now_ms())
        else:
            last = self._later[-1] if self._later else first
            if last.reasoning is reasoning:
                last.texts.append(text)
            else:
                if self._later is None:
                    self._later = deque()
                self._later.append(Piece(reasoning, [text], now_ms()))
        self._unsent += len(text)
        if not self._busy:
            self._busy = True
            self._outlet.ready(self)

    def _put_first(self, piece: Piece) -> None:
        if self._first is not None:
            if self._later is None:
                self._later = deque()
            self._later.appendleft(self._first)
        self._first = piece

    def _go_on(self) -> None:
        if (self._first or self._behind) and not self._done():
            self._outlet.ready(self)
        else:
            self._busy = False
        self._wake()

    def _left(self, piece: Piece) -> None:
        self._size = piece.size
        self.index = piece.index
        if piece.texts:
            self._unsent -= len(piece.texts[0])
            if piece.reasoning:
                self._reasoning_index += 1

    def _delta(self, text: str, piece: Piece) -> None:
        kept = open_messages.piece(text)
        piece.size = self._size + len(kept)
        piece.index = self.index + 1
        piece.is_whole = False
        piece.payload = payload = self._payload(text, piece.ms)
        size = b"%d" % piece.size
        # As `encode_words` would: at once, for it is done for every token.
        piece.words = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            self._epoch,
            len(size),
            size,
            len(kept),
            kept,
            len(payload),
            payload,
        )

    def _payload(self, text: str, ms: int) -> bytes:
        return self._delta_payload % (self.index, stamp(ms), self.index, orjson.dumps(text))

    def _reasoning(self, text: str, piece: Piece) -> None:
        frame = self._frames.reasoning(self._reasoning_index, text, piece.ms)
        piece.payload = envelope.live(self.lease.session, frame)
        piece.words = self._epoch + encode_words(b"0", b"", piece.payload)
        piece.index, piece.size, piece.is_whole = self.index, self._size, False

    def _all_of_it(self) -> Piece:
        """All of the text as one step of the index, whatever Redis has of it."""
        waiting = ([self._first] if self._first else []) + list(self._later or ())
        self._unsent -= sum(len(text) for piece in waiting if not piece.reasoning for text in piece.texts)
        thoughts = deque(piece for piece in waiting if piece.reasoning)
        self._first = thoughts.popleft() if thoughts else None
        self._later = thoughts or None
        text, index = self.text, self.index + 1
        frame = self._frames.snapshot(index, text)
        everything = Piece(False, [], now_ms())
        self._whole(text, everything, envelope.snapshot(self.lease.session, self.message, index, self._seq, frame))
        return everything

    def _whole(self, text: str, piece: Piece, payload: bytes) -> None:
        index = self.index + 1
        kept = open_messages.whole(self.lease.run, self._turn, self._author, self._seq, text, index)
        piece.payload, piece.is_whole, piece.index, piece.size = payload, True, index, len(kept)
        piece.words = self._epoch + encode_words(b"%d" % TTL_S, kept, payload)

    def _refresh(self, ms: int) -> None:
        self._refreshed_ms = ms
        for key in (self._text_key, keys.open_messages(self.lease.session)):
            self._outlet.pipeline.submit(encode(b"EXPIRE", key, b"%d" % TTL_S), ignored)

    def _drop_queue(self) -> None:
        self._first = self._later = None
        self._unsent = 0
        self._behind = False
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def forget(session: SessionId, messages: Sequence[str]) -> tuple[bytes, ...]:
    """The commands that remove what Redis keeps of open messages."""
    if not messages:
        return ()
    names = [keys.text_prefix(session) + message.encode() for message in messages]
    return encode(b"DEL", *names), encode(b"SREM", keys.open_messages(session), *names)
