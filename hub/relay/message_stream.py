"""One open message on its way out: what is added while a piece is under way collects and goes out as the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.domain.ids import SessionId
from hub.domain.run import Lease
from hub.protocol.events import AgentAuthor
from hub.protocol.frames import DeltaFrames
from hub.protocol.text import storable
from hub.relay import envelope, keys
from hub.relay.open_messages import head
from hub.relay.pipeline import Pipeline, ignored
from hub.relay.scripts import Script
from hub.relay.wire import Reply, encode, encode_words

TTL_S = b"600"
MAX_PIECE = 8_192  # characters; at 6 bytes each in JSON it still fits an envelope
MAX_UNSENT = 65_536  # characters a run may be ahead of Redis

# What the scripts answer.
_REFUSED, _NOT_NEXT, _NO_FENCE = 0, -1, -2


@dataclass(frozen=True, slots=True)
class Outlet:
    """What all streams of a worker send through. `deliver` reaches this worker's own rooms, `park` is told of streams
    whose fence is missing."""

    pipeline: Pipeline
    deliver: Callable[[bytes, bytes], None]
    park: Callable[["MessageStream"], None]
    delta: Script
    snapshot: Script
    fenced_publish: Script


class MessageStream:
    """The first piece leaves at once, later ones as large as Redis is slow; the pipeline gives the pace.

    While Redis is away pieces go to this worker's own rooms; when it is back, or has lost the beginning, everybody
    gets a `message.snapshot` once. `refused` is set when another lease holds the session: nothing leaves any more.
    """

    def __init__(self, outlet: Outlet, lease: Lease, message: str, turn: int, author: AgentAuthor, seq: int) -> None:
        self.lease = lease
        self.message = message
        self.index = 0  # of the next delta
        self.refused = False
        self._outlet = outlet
        self._seq = seq
        self._frames = DeltaFrames(lease.session, lease.run, message, turn, author.name, author.display_name)
        self._epoch = b"%d" % lease.epoch
        self._name = message.encode()
        self._head = head(lease.run, turn, author, seq)
        self._channel = keys.channel(lease.session)
        self._keys = (
            keys.fence(lease.session),
            keys.text_prefix(lease.session) + self._name,
            keys.next_prefix(lease.session) + self._name,
            keys.open_messages(lease.session),
            self._channel,
        )
        # Commands differ in index, piece and payload only; the rest is encoded once.
        self._delta = self._evalsha(outlet.delta)
        self._about = encode_words(TTL_S, self._name, self._head)
        self._text: list[str] = []
        self._queue: deque[tuple[bool, list[str]]] = deque()  # (is reasoning, pieces), neighbours of one kind merged
        self._unsent = 0
        self._reasoning_index = 0
        self._behind = False  # Redis has not all of the text: the next piece is a snapshot
        self._busy = False
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def text(self) -> str:
        """All that was added."""
        return "".join(self._text)

    def add(self, text: str) -> None:
        """The next piece of the message. Never waits."""
        text = storable(text)
        self._text.append(text)
        self._enqueue(False, text)

    def add_reasoning(self, text: str) -> None:
        """The next piece of what the model thinks aloud; it is shown, not kept."""
        self._enqueue(True, storable(text))

    async def room(self) -> None:
        """Returns when less than `MAX_UNSENT` characters wait to leave: at once, unless Redis is slow."""
        while self._unsent >= MAX_UNSENT and not self._done():
            await self._progress()

    async def drain(self, timeout_s: float) -> bool:
        """Waits until everything added has left; False when it has not in time or is refused."""
        try:
            async with asyncio.timeout(timeout_s):
                while (self._busy or self._queue) and not self._done():
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

    def unpark(self, held: bool) -> None:
        """The fence is there again, or (`held` false) the lease is lost."""
        self._busy = False
        if not held:
            self.refused = True
            self._drop_queue()
        self._pump()

    def _done(self) -> bool:
        return self.refused or self._closed

    async def _progress(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _enqueue(self, reasoning: bool, text: str) -> None:
        if self._done() or not text:
            return
        if self._queue and self._queue[-1][0] is reasoning:
            self._queue[-1][1].append(text)
        else:
            self._queue.append((reasoning, [text]))
        self._unsent += len(text)
        if not self._busy:
            self._pump()

    def _pump(self) -> None:
        # A loop: while Redis is away `_send` is over when it returns.
        while not self._busy and not self._done() and (self._queue or self._behind):
            self._busy = True
            if self._behind:
                self._send_snapshot()
            else:
                self._send_piece()
        self._wake()

    def _send_piece(self) -> None:
        reasoning, pieces = self._queue.popleft()
        text = "".join(pieces)
        if len(text) > MAX_PIECE:
            self._queue.appendleft((reasoning, [text[MAX_PIECE:]]))
            text = text[:MAX_PIECE]
        if reasoning:
            self._send_reasoning(text)
        else:
            self._send_delta(text)

    def _send_delta(self, text: str) -> None:
        payload = envelope.delta(self.message, self.index, self._seq, self._frames.delta(self.index, text))

        def on_reply(reply: Reply) -> None:
            if reply == _NO_FENCE:
                self._queue.appendleft((False, [text]))
                return
            self._unsent -= len(text)
            self.index += 1
            self._behind = reply == _NOT_NEXT

        self._submit(self._outlet.delta, self._command(self._delta, self.index, text, payload), payload, on_reply)

    def _send_reasoning(self, text: str) -> None:
        payload = envelope.live(self._frames.reasoning(self._reasoning_index, text))

        def on_reply(reply: Reply) -> None:
            if reply == _NO_FENCE:
                self._queue.appendleft((True, [text]))
                return
            self._unsent -= len(text)
            self._reasoning_index += 1

        script = self._outlet.fenced_publish
        words = (script.digest, b"2", self._keys[0], self._channel, self._epoch, payload)
        self._submit(script, encode(b"EVALSHA", *words), payload, on_reply)

    def _send_snapshot(self) -> None:
        """All of the text as one step of the index, whatever Redis has of it."""
        for reasoning, pieces in self._queue:
            self._unsent -= 0 if reasoning else sum(map(len, pieces))
        self._queue = deque(entry for entry in self._queue if entry[0])
        text, index = self.text, self.index + 1
        payload = envelope.snapshot(self.message, index, self._seq, self._frames.snapshot(index, text))

        def on_reply(reply: Reply) -> None:
            if reply != _NO_FENCE:
                self.index = index
                self._behind = False

        command = self._command(self._evalsha(self._outlet.snapshot), index, text, payload)
        self._submit(self._outlet.snapshot, command, payload, on_reply)

    def _evalsha(self, script: Script) -> bytes:
        """The beginning of a command, which is the same for every piece: up to the epoch."""
        return b"*%d\r\n" % (3 + len(self._keys) + 1 + 6) + encode_words(
            b"EVALSHA", script.digest, b"%d" % len(self._keys), *self._keys, self._epoch
        )

    def _command(self, beginning: bytes, index: int, text: str, payload: bytes) -> bytes:
        return beginning + encode_words(b"%d" % index, text.encode()) + self._about + encode_words(payload)

    def _submit(self, script: Script, command: bytes, payload: bytes, on_reply: Callable[[Reply], None]) -> None:
        """Sends a script's command; `payload` is what it publishes. `on_reply` is not called when the lease is
        refused."""

        def settled(reply: Reply) -> None:
            self._busy = reply == _NO_FENCE
            if reply == _REFUSED:
                self.refused = True
                self._drop_queue()
            else:
                on_reply(reply)
            if isinstance(reply, Exception):
                self._outlet.deliver(self._channel, payload)
            if self._busy:
                self._outlet.park(self)
            elif not inside:
                self._pump()

        inside = True
        self._outlet.pipeline.evaluate(script, command, settled)
        inside = False

    def _drop_queue(self) -> None:
        self._queue.clear()
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
    names = [message.encode() for message in messages]
    kept = (keys.text_prefix(session), keys.next_prefix(session))
    return (
        encode(b"DEL", *(prefix + name for name in names for prefix in kept)),
        encode(b"HDEL", keys.open_messages(session), *names),
    )
