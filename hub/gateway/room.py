"""What those who follow a session are shown, in which order, each thing once."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from hub.domain.ids import SessionId
from hub.gateway.audience import Audience
from hub.gateway.open_stream import OpenStream
from hub.gateway.open_streams import OpenStreams
from hub.gateway.outbox import Frame, Outbox
from hub.protocol.frames import LoggedEvent
from hub.relay import envelope
from hub.relay.envelope import Envelope, Kind
from hub.relay.open_messages import OpenMessage

RING_FRAMES = 256
RING_BYTES = 262_144
STASH_FRAMES = 64
EARLY_ENVELOPES = 256
PARTING_S = 0.1  # in which those who leave together, as at a deletion, see each other leave

logger = logging.getLogger(__name__)

_NO_FRAME = (ValueError, KeyError, TypeError)  # what reading a frame raises that is none


class Room(Audience):
    """One cursor for all: `last_seq` is the last durable event shown. Nothing here waits for anything.

    What comes from Redis may be lost, doubled or out of order. A durable event is shown exactly when it is the next
    one; later ones wait in the stash. When something is missing the room says so through `on_need`: then
    `needs_log` asks for `absorb`, and `needs_text` for `restore`.
    """

    __slots__ = (
        "_check_log",
        "_early",
        "_left",
        "_on_left",
        "_on_need",
        "_ring",
        "_ring_bytes",
        "_stash",
        "_streams",
        "_target",
        "last_seq",
        "misrouted",
        "needs_text",
        "rejected",
        "session",
        "started",
    )

    def __init__(
        self,
        session: SessionId,
        on_need: Callable[[], None],
        on_batch: Callable[[Audience], object] | None = None,
        on_left: Callable[[SessionId, AbstractSet[str]], object] | None = None,
    ) -> None:
        """`on_left` is to detach these users: they have seen that they are members no more, and nothing since."""
        super().__init__(on_batch)
        self.session = session
        self.started = False
        self.last_seq = 0
        self.needs_text = False
        self.rejected = 0  # payloads that were no envelopes, or held no frame
        self.misrouted = 0  # envelopes of other sessions
        self._on_need = on_need
        self._on_left = on_left
        self._left: frozenset[str] = frozenset()  # users who have been shown it, and are still here
        self._target = 0  # the log is known to reach up to here
        self._check_log = False  # it may reach further
        self._ring: deque[tuple[int, Frame]] = deque()  # the last frames up to `last_seq`, without a hole
        self._ring_bytes = 0
        self._stash: dict[int, tuple[str, Frame]] = {}
        self._early: deque[Envelope] = deque()  # live things that came before the durable events they follow
        self._streams = OpenStreams(session)

    def attach(self, outbox: Outbox) -> None:
        """From now on `outbox` gets what the room shows; first the open messages as far as they were shown. The
        caller has seen to it, in the same step of the loop, that it got every event up to `last_seq`."""
        self.pass_on()
        for stream in self._streams:
            if (snapshot := stream.snapshot()) is not None:
                outbox.put(snapshot)
        self._follow(outbox)

    def recent(self, after: int) -> list[Frame] | None:
        """The frames after event `after` up to `last_seq`, or None when they are not at hand any more."""
        missing = self.last_seq - after
        if missing > len(self._ring):
            return None
        return [frame for _, frame in itertools.islice(self._ring, len(self._ring) - missing, None)]

    # ---- what comes from Redis

    def _look_at(self, payload: bytes) -> None:
        try:
            item = envelope.parse(payload)
        except ValueError:
            self.rejected += 1
        else:
            if item.session == self.session:
                self._accept(item)
            else:
                self._misrouted()

    def _misrouted(self) -> None:
        self.misrouted += 1
        if self.misrouted == 1:  # the others are counted
            logger.error("a frame of another session came on the channel of session %s and was dropped", self.session)

    def gap(self) -> None:
        """Redis may have lost something without a trace."""
        self._check_log = self.needs_text = True
        self._need()

    # ---- what comes from the truth

    def start(self, last_seq: int, messages: Sequence[OpenMessage], recent: Iterable[LoggedEvent] = ()) -> None:
        """Begins after event `last_seq`, or the last of the `recent` ones, with these messages open."""
        self.last_seq = last_seq
        for event in recent:
            self._show(event.seq, envelope.closes(event), Frame(event.frame()))
        self.started = True
        self.restore(messages)
        self._settle()
        if self.needs_log or self.needs_text:
            self._need()

    def reaches(self, seq: int) -> None:
        """The log is known to hold event `seq`."""
        self._target = max(self._target, seq)
        if self.needs_log:
            self._need()

    @property
    def needs_log(self) -> bool:
        """Whether durable events are missing, or may be."""
        return self._check_log or self._target > self.last_seq

    def log_question(self) -> int:
        """To be called right before the log is read; what comes back goes to `log_answered`."""
        self._check_log = False
        return self._target

    def log_answered(self, question: int) -> None:
        """The log was read to its end after `log_question`, and all of it was absorbed: what was thought to be in it
        up to there and is not, is not there."""
        if self._target == question:
            self._target = self.last_seq
        for seq in [seq for seq in self._stash if seq <= question]:
            del self._stash[seq]
        self._early = deque(item for item in self._early if item.seq > question)

    def absorb(self, events: Iterable[LoggedEvent]) -> None:
        """Events from the log, in order: those that are new are shown."""
        for event in events:
            if event.seq == self.last_seq + 1:
                self._show(event.seq, envelope.closes(event), Frame(event.frame()))
        self._settle()

    def restore(self, messages: Iterable[OpenMessage]) -> None:
        """Open messages as Redis keeps them: whoever misses something of them gets the whole text."""
        self.pass_on()
        for message in messages:
            if self._streams.is_over(message.message, message.seq):
                continue
            if message.seq > self.last_seq:
                self.needs_text = True
                self.reaches(message.seq)
                continue
            stream = self._streams.get(message.message, message.seq)
            if stream.replace(message):
                self._show_whole(stream, stream.snapshot())

    # ---- order

    def _accept(self, item: Envelope) -> None:
        try:
            self._apply(item)
        except _NO_FRAME:
            self.rejected += 1

    def _apply(self, item: Envelope) -> None:
        if not self.started:
            self._keep_early(item)
            return
        if self._left and item.kind is not Kind.DURABLE:
            self.part()
        match item.kind:
            case Kind.DURABLE:
                self._durable(item)
            case Kind.READ_LOG:
                self.reaches(item.seq)
            case Kind.DELTA | Kind.SNAPSHOT if item.seq > self.last_seq:
                # Shown only after the durable events that came before it.
                self._keep_early(item)
                self.reaches(item.seq)
            case Kind.DELTA:
                self._delta(item)
            case Kind.SNAPSHOT:
                self._snapshot(item)
            case Kind.LIVE:
                self._put(Frame(item.frame))

    def _durable(self, item: Envelope) -> None:
        if item.seq <= self.last_seq:
            return
        if item.seq == self.last_seq + 1:
            self._show(item.seq, item.message, Frame(item.frame))
            self._settle()
            return
        if len(self._stash) < STASH_FRAMES:
            self._stash[item.seq] = (item.message, Frame(item.frame))
        self.reaches(item.seq)

    def _show(self, seq: int, closes: str, frame: Frame) -> None:
        leaves = closes.startswith(envelope.LEFT) and self.started  # at the start it is a story of long ago
        if self._left and not leaves:
            self.part()
        self.last_seq = seq
        self._stash.pop(seq, None)
        self._ring.append((seq, frame))
        self._ring_bytes += frame.size
        while len(self._ring) > RING_FRAMES or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= self._ring.popleft()[1].size
        self._end(seq, closes)
        self._put(frame)
        if leaves:
            if not self._left:
                asyncio.get_running_loop().call_later(PARTING_S, self.part)
            self._left |= {closes.removeprefix(envelope.LEFT)}

    def part(self) -> None:
        """Parts with those who have left, if there are any, before anything but another leaving is shown."""
        left, self._left = self._left, frozenset()
        if left and self._on_left is not None:
            self._on_left(self.session, left)

    def _settle(self) -> None:
        """Shows what has waited for the events shown just now."""
        while (waiting := self._stash.get(self.last_seq + 1)) is not None:
            self._show(self.last_seq + 1, *waiting)
        early, self._early = self._early, deque()
        for item in early:
            self._accept(item)

    def _keep_early(self, item: Envelope) -> None:
        if len(self._early) < EARLY_ENVELOPES:
            self._early.append(item)
        else:
            self._check_log = self.needs_text = True

    def _need(self) -> None:
        if self.started:
            self._on_need()

    # ---- open messages

    def _delta(self, item: Envelope) -> None:
        if self._streams.is_over(item.message, item.seq):
            return
        self.pass_on()  # while the index of its stream tells which they are
        stream = self._streams.get(item.message, item.seq)
        frame = Frame(item.frame, item.message, item.index, item.n)
        was_lost = stream.lost
        if stream.take(frame):
            self._put(frame)
            if was_lost:
                self._show_held(stream)
            self._writing = stream if not stream.lost else None
        elif stream.lost:
            self._writing = None
            self._need_text()

    def _snapshot(self, item: Envelope) -> None:
        if self._streams.is_over(item.message, item.seq):
            return
        self.pass_on()
        stream = self._streams.get(item.message, item.seq)
        if not item.frame:
            if item.index > stream.index:
                stream.lost, self._writing = True, None
                self._need_text()
        elif stream.replace_by_frame(item.index, item.frame):
            self._show_whole(stream, Frame(item.frame))

    def _show_whole(self, stream: OpenStream, frame: Frame | None) -> None:
        """The whole text for everybody, then what waited behind it."""
        self._writing = None
        if frame is not None:
            self._put(frame)
        self._show_held(stream)

    def _show_held(self, stream: OpenStream) -> None:
        for delta in stream.held():
            try:
                if stream.take(delta):
                    self._put(delta)
            except _NO_FRAME:
                self.rejected += 1
        if stream.lost:
            self._need_text()

    def _need_text(self) -> None:
        self.needs_text = True
        self._need()

    def _end(self, seq: int, closes: str) -> None:
        self._writing = None
        if closes == envelope.FORGET:  # words may have gone from the log: who comes now reads it there
            self._ring.clear()
            self._ring_bytes = 0
        elif closes == envelope.ALL:
            self._streams.end_all(seq)
        elif closes != envelope.NOTHING:
            self._streams.end(closes)
