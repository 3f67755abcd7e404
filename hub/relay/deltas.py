"""The text of messages while they are written: from a run to every worker, coalesced, fenced, kept in Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId
from hub.domain.run import Lease
from hub.protocol.pieces import AgentAuthor
from hub.relay import fence, keys, scripts
from hub.relay.message_stream import MessageStream, Outlet, Piece, forget
from hub.relay.pipeline import Pipeline, ignored
from hub.relay.scripts import Script
from hub.relay.subscriber import Subscriber
from hub.relay.wire import Reply, encode, encode_words

REFENCE_PAUSE_S = 0.5
# Of one command: Redis does nothing else meanwhile.
MAX_PIECES = 256
MAX_BYTES = 262_144

Refence = Callable[[Lease], Awaitable[bool]]
"""Checks in PostgreSQL that the lease still holds and raises its fence again: True when both are so, False when the
lease is lost. May raise `Unavailable`: it is asked again."""


class DeltaPublisher:
    """The open messages of this worker's runs. What they have to say when a batch leaves, they say in one command.

    `tasks` owns what restores a fence that Redis has lost.
    """

    def __init__(self, pipeline: Pipeline, subscriber: Subscriber, refence: Refence, tasks: asyncio.TaskGroup) -> None:
        self._pipeline = pipeline
        self._refence = refence
        self._tasks = tasks
        self._parked: dict[Lease, list[MessageStream]] = {}
        self._silence = scripts.load("silence")
        self._ready: list[MessageStream] = []
        self._asked = False
        self._pieces = scripts.load("pieces")
        self._whole = scripts.load("whole")
        self._outlet = Outlet(pipeline=pipeline, ready=self._is_ready, deliver=subscriber.deliver, park=self._park)

    def open(self, lease: Lease, message: str, *, turn: int, author: AgentAuthor, seq: int) -> MessageStream:
        """Begins a message. `seq` is that of the last durable event the run has appended before it."""
        return MessageStream(self._outlet, lease, message, turn, author, seq)

    def close(self, session: SessionId, messages: Sequence[str]) -> None:
        """Forgets open messages that have no stream any more: call it when what ends them has been published."""
        for command in forget(session, messages):
            self._pipeline.submit(command, ignored)

    def silence(self, lease: Lease) -> None:
        """Nobody holds this lease: older ones of its session write nothing more, and what they had open is gone."""
        words = (keys.fence(lease.session), keys.open_messages(lease.session), b"%d" % lease.epoch, b"%d" % fence.TTL_S)
        command = encode(b"EVALSHA", self._silence.digest, b"2", *words)
        self._pipeline.evaluate(self._silence, command, ignored)

    def _is_ready(self, stream: MessageStream) -> None:
        self._ready.append(stream)
        if not self._asked:
            self._asked = True
            self._pipeline.before_flush(self._send)

    def _send(self) -> None:
        """Everything that streams have to say now."""
        # While Redis is away they are answered, and may be ready again, before their command is submitted.
        while self._ready:
            ready, self._ready = self._ready, []
            batch = _Batch()
            for stream in ready:
                piece = stream.next_piece()
                if piece is None:
                    continue
                if piece.is_whole:
                    words = (
                        b"*11\r\n"
                        + encode_words(b"EVALSHA", self._whole.digest, b"4")
                        + stream.whole_keys
                        + piece.words
                    )
                    self._pipeline.evaluate(self._whole, words, partial(stream.answered, piece))
                    continue
                if len(batch.pieces) >= MAX_PIECES or batch.size >= MAX_BYTES:
                    self._submit(batch)
                    batch = _Batch()
                batch.add(stream, piece)
            self._submit(batch)
        self._asked = False

    def _submit(self, batch: "_Batch") -> None:
        if batch.streams:
            self._pipeline.evaluate(self._pieces, batch.command(self._pieces), batch.answered)

    def _park(self, stream: MessageStream) -> None:
        waiting = self._parked.setdefault(stream.lease, [])
        waiting.append(stream)
        if len(waiting) == 1:
            self._tasks.create_task(self._restore_fence(stream.lease))

    async def _restore_fence(self, lease: Lease) -> None:
        held = True
        # Without Redis there is no fence to restore, and the streams go on for this worker's own followers.
        while self._pipeline.connected:
            try:
                held = await self._refence(lease)
                break
            except Unavailable:
                await asyncio.sleep(REFENCE_PAUSE_S)
        for stream in self._parked.pop(lease, ()):
            stream.unpark(held)


class _Batch:
    """Pieces of several messages that travel in one command."""

    __slots__ = ("pieces", "size", "streams")

    def __init__(self) -> None:
        self.streams: list[MessageStream] = []
        self.pieces: list[Piece] = []
        self.size = 0

    def add(self, stream: MessageStream, piece: Piece) -> None:
        self.streams.append(stream)
        self.pieces.append(piece)
        self.size += len(piece.words)

    def command(self, script: Script) -> bytes:
        count = len(self.streams)
        head = b"*%d\r\n" % (3 + 7 * count) + encode_words(b"EVALSHA", script.digest, b"%d" % (3 * count))
        return b"".join([head, *[stream.keys for stream in self.streams], *[piece.words for piece in self.pieces]])

    def answered(self, reply: Reply) -> None:
        """One answer for each, or an exception for all."""
        answers = reply if isinstance(reply, list) else [reply] * len(self.streams)
        for stream, piece, answer in zip(self.streams, self.pieces, answers, strict=True):
            stream.answered(piece, answer)
