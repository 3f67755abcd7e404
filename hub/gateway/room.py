"""The connections of this worker that follow one session: what they are shown, in which order, each thing once."""

import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from hub.domain.ids import SessionId
from hub.gateway.open_stream import OpenStream
from hub.gateway.outbox import BATCH_BYTES, Frame, Outbox
from hub.gateway.text_frame import text_frame
from hub.protocol.frames import LoggedEvent
from hub.relay import envelope
from hub.relay.envelope import Envelope, Kind
from hub.relay.open_messages import OpenMessage

RING_FRAMES = 256
RING_BYTES = 262_144
STASH_FRAMES = 64
EARLY_ENVELOPES = 256
REMEMBERED_ENDS = 256
BATCH_FRAMES = 128  # deltas that are passed on together, at most

logger = logging.getLogger(__name__)

_NO_FRAME = (ValueError, KeyError, TypeError)  # what reading a frame raises that is none


class Room:
    """One cursor for all: `last_seq` is the last durable event shown. Nothing here waits for anything.

    What comes from Redis may be lost, doubled or out of order. A durable event is shown exactly when it is the next
    one; later ones wait in the stash. When something is missing the room says so through `on_need`: then
    `needs_log` asks for `absorb`, and `needs_text` for `restore`.

    Deltas that come together are passed on together, as one WebSocket frame made once: `on_batch` is told of the first
    of them, and `pass_on` is to be called when no more come at the moment. Without `on_batch` each goes at once.
    """

    __slots__ = (
        "_batch",
        "_batch_stream",
        "_check_log",
        "_early",
        "_ended",
        "_followers",
        "_on_batch",
        "_on_need",
        "_only",
        "_ring",
        "_ring_bytes",
        "_stash",
        "_streams",
        "_target",
        "_void",
        "_writing",
        "last_seq",
        "misrouted",
        "needs_text",
        "rejected",
        "session",
        "started",
    )

    def __init__(
        self, session: SessionId, on_need: Callable[[], None], on_batch: Callable[["Room"], None] | None = None
    ) -> None:
        self.session = session
        self.started = False
        self.last_seq = 0
        self.needs_text = False
        self.rejected = 0  # payloads that were no envelopes, or held no frame
        self.misrouted = 0  # envelopes of other sessions
        self._on_need = on_need
        self._on_batch = on_batch or Room.pass_on
        # Shown, and not passed on yet: the last deltas of one message.
        self._batch: list[bytes] | None = None
        self._batch_stream: OpenStream | None = None
        self._target = 0  # the log is known to reach up to here
        self._check_log = False  # it may reach further
        self._followers: tuple[
            Outbox, ...
        ] = ()  # replaced, not changed: an outbox that overflows leaves while it is used
        self._only: Outbox | None = None  # the follower, when there is one
        self._ring: deque[tuple[int, Frame]] = deque()  # the last frames up to `last_seq`, without a hole
        self._ring_bytes = 0
        self._stash: dict[int, tuple[str, Frame]] = {}
        self._early: deque[Envelope] = deque()  # live things that came before the durable events they follow
        self._streams: dict[str, OpenStream] = {}
        self._writing: OpenStream | None = None  # the one whose next delta is known by its header
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._void = 0  # messages opened before this event have ended

    # ---- followers

    def attach(self, outbox: Outbox) -> None:
        """From now on `outbox` gets what the room shows; first the open messages as far as they were shown. The
        caller has seen to it, in the same step of the loop, that it got every event up to `last_seq`."""
        self.pass_on()
        for stream in self._streams.values():
            if (snapshot := stream.snapshot()) is not None:
                outbox.put(snapshot)
        self._follow((*self._followers, outbox))
        outbox.enter()

    def detach(self, outbox: Outbox) -> None:
        """No more for `outbox`. May be called for one that is not attached."""
        if outbox in self._followers:
            self._follow(tuple(other for other in self._followers if other is not outbox))
            outbox.leave()

    def _follow(self, followers: tuple[Outbox, ...]) -> None:
        self._followers = followers
        self._only = followers[0] if len(followers) == 1 else None

    def recent(self, after: int) -> list[Frame] | None:
        """The frames after event `after` up to `last_seq`, or None when they are not at hand any more."""
        missing = self.last_seq - after
        if missing > len(self._ring):
            return None
        return [frame for _, frame in itertools.islice(self._ring, len(self._ring) - missing, None)]

    # ---- what comes from Redis

    def receive(self, payload: bytes) -> None:
        """A payload of the session's channel."""
        writing = self._writing
        if writing is not None and (frame := writing.follow(payload)) is not None:
            batch = self._batch
            if not batch:
                self._batch = [frame]
                self._batch_stream = writing
                self._on_batch(self)
            else:
                batch.append(frame)
                if len(batch) >= BATCH_FRAMES:
                    self.pass_on()
            return
        try:
            item = envelope.parse(payload)
        except ValueError:
            self.rejected += 1
        else:
            if item.session == self.session:
                self._accept(item)
            else:
                self._misrouted()

    def pass_on(self) -> bytes | None:
        """Gives the followers the deltas that have come, and the caller the first of them, if there are any."""
        batch, stream = self._batch, self._batch_stream
        if batch is None or stream is None:
            return None
        self._batch = None
        wire = batch[0] if len(batch) == 1 else b"\n".join(batch)
        wire = text_frame(wire) if len(batch) == 1 or len(wire) < BATCH_BYTES else b""
        only = self._only
        if only is not None and wire and only.pass_on(wire):
            return batch[0]
        frames: list[Frame] | None = None
        for outbox in self._followers:
            if not (wire and outbox.pass_on(wire)):
                if frames is None:
                    first = stream.index - len(batch)
                    frames = [Frame(data, stream.message, at) for at, data in enumerate(batch, first)]
                for frame in frames:
                    outbox.put(frame)
        return batch[0]

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
            if self._is_over(message.message, message.seq):
                continue
            if message.seq > self.last_seq:
                self.needs_text = True
                self.reaches(message.seq)
                continue
            stream = self._stream(message.message, message.seq)
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
        self.last_seq = seq
        self._stash.pop(seq, None)
        self._ring.append((seq, frame))
        self._ring_bytes += frame.size
        while len(self._ring) > RING_FRAMES or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= self._ring.popleft()[1].size
        self._end(seq, closes)
        self._put(frame)

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

    def _put(self, frame: Frame) -> None:
        self.pass_on()  # came before it
        for outbox in self._followers:
            outbox.put(frame)

    def _need(self) -> None:
        if self.started:
            self._on_need()

    # ---- open messages

    def _delta(self, item: Envelope) -> None:
        if self._is_over(item.message, item.seq):
            return
        self.pass_on()  # while the index of its stream tells which they are
        stream = self._stream(item.message, item.seq)
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
        if self._is_over(item.message, item.seq):
            return
        self.pass_on()
        stream = self._stream(item.message, item.seq)
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

    def _stream(self, message: str, seq: int) -> OpenStream:
        stream = self._streams.get(message)
        if stream is None:
            stream = self._streams[message] = OpenStream(self.session, message, seq)
        return stream

    def _is_over(self, message: str, seq: int) -> bool:
        return message in self._ended or seq < self._void

    def _end(self, seq: int, closes: str) -> None:
        self._writing = None
        if closes == envelope.FORGET:  # words may have gone from the log: who comes now reads it there
            self._ring.clear()
            self._ring_bytes = 0
        elif closes == envelope.ALL:
            self._void = seq
            self._streams = {name: stream for name, stream in self._streams.items() if stream.seq >= seq}
        elif closes != envelope.NOTHING:
            self._streams.pop(closes, None)
            self._ended[closes] = None
            if len(self._ended) > REMEMBERED_ENDS:
                self._ended.popitem(last=False)
