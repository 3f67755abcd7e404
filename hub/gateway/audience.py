"""The connections of this worker that follow one session: what they are shown goes to all of them, in one order."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from hub.gateway.open_stream import OpenStream
from hub.gateway.outbox import BATCH_BYTES, Frame, Outbox
from hub.gateway.text_frame import text_frame

BATCH_FRAMES = 128  # deltas that are passed on together, at most


class Audience(ABC):
    """Deltas that come together are passed on together, as one WebSocket frame made once: `on_batch` is told of the
    first of them, and `pass_on` is to be called when no more come at the moment. Without `on_batch` each goes at once.

    What is touched for every token is in this class, the rest in `Room`: with 1,000 sessions each further line of
    memory has left the processor's cache meanwhile.
    """

    __slots__ = ("_batch", "_batch_stream", "_followers", "_on_batch", "_only", "_writing")

    def __init__(self, on_batch: Callable[["Audience"], object] | None = None) -> None:
        self._on_batch = on_batch or Audience.pass_on
        # Shown, and not passed on yet: the last deltas of one message.
        self._batch: list[bytes] | None = None
        self._batch_stream: OpenStream | None = None
        # Replaced, not changed: an outbox that overflows leaves while it is used.
        self._followers: tuple[Outbox, ...] = ()
        self._only: Outbox | None = None  # the follower, when there is one
        self._writing: OpenStream | None = None  # the message whose next delta is known by its header

    # ---- who it is

    def detach(self, outbox: Outbox) -> None:
        """No more for `outbox`. May be called for one that is not attached."""
        if outbox in self._followers:
            self._set(tuple(other for other in self._followers if other is not outbox))
            outbox.leave()

    def _follow(self, outbox: Outbox) -> None:
        self._set((*self._followers, outbox))
        outbox.enter()

    def _set(self, followers: tuple[Outbox, ...]) -> None:
        self._followers = followers
        self._only = followers[0] if len(followers) == 1 else None

    # ---- what it is shown

    def receive(self, payload: bytes) -> None:
        """A payload of the session's channel: nearly always exactly the next delta of the message that is written."""
        writing = self._writing
        if writing is None or (frame := writing.follow(payload)) is None:
            self._look_at(payload)
            return
        batch = self._batch
        if batch is None:
            self._batch = [frame]
            self._batch_stream = writing
            self._on_batch(self)
        else:
            batch.append(frame)
            if len(batch) >= BATCH_FRAMES:
                self.pass_on()

    @abstractmethod
    def _look_at(self, payload: bytes) -> None:
        """One that may be anything."""

    def pass_on(self) -> bytes | None:
        """Gives the followers the deltas that have come, and the caller the first of them, if there are any."""
        batch, stream = self._batch, self._batch_stream
        if batch is None or stream is None:
            return None
        self._batch = None
        first = batch[0]
        wire = first if len(batch) == 1 else b"\n".join(batch)
        wire = text_frame(wire) if len(batch) == 1 or len(wire) < BATCH_BYTES else b""
        only = self._only
        if only is not None and wire and only.pass_on(wire):
            return first
        frames: list[Frame] | None = None
        for outbox in self._followers:
            if not (wire and outbox.pass_on(wire)):
                if frames is None:
                    at = stream.index - len(batch)
                    frames = [Frame(data, stream.message, index) for index, data in enumerate(batch, at)]
                for frame in frames:
                    outbox.put(frame)
        return first

    def _put(self, frame: Frame) -> None:
        self.pass_on()  # came before it
        for outbox in self._followers:
            outbox.put(frame)
