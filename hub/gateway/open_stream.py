"""An open message as a room has shown it: its text so far, and what waits for a missing piece of it."""

import orjson

from hub.domain.ids import RunId, SessionId
from hub.gateway.outbox import Frame
from hub.protocol.frames import TEXT_FIELD, DeltaFrames, encoded_text
from hub.relay import envelope
from hub.relay.open_messages import OpenMessage

MAX_HELD = 256  # deltas that wait behind a missing one; more are given up, for a snapshot has them too


class OpenStream:
    """`index` is that of the next delta to show. A stream is `lost` while pieces before those held are missing: it
    shows nothing more until they come, or a snapshot with the whole text.

    The text is kept as it is encoded in the frames: it is needed when somebody joins, and not for every token. It grows
    in place: as a list of pieces each token would take new memory, several times its size and out of the cache.
    """

    __slots__ = (
        "_before_index",
        "_behind_index",
        "_frames",
        "_held",
        "_session",
        "_text",
        "index",
        "lost",
        "message",
        "seq",
    )

    def __init__(self, session: SessionId, message: str, seq: int) -> None:
        self._session = session
        self.message = message
        self.seq = seq  # of the last durable event before the message
        self.index = 0
        self.lost = False
        self._text = bytearray()
        self._frames: DeltaFrames | None = None
        self._held: dict[int, Frame] = {}
        self._before_index, self._behind_index = envelope.delta_header(session, message, seq)

    # ---- the way of nearly every token

    def follow(self, payload: bytes) -> bytes | None:
        """The frame, when this is the payload of exactly the next delta of a message whose author is known: nothing is
        new about it but the text. It is part of the text then.

        Parsing what is known already would double what a token costs in a room. None is no judgement: the payload is
        to be looked at in earnest.
        """
        head, _, frame = payload.partition(b"\n")
        # Made anew each time: kept from one token to the next it would have left the processor's cache meanwhile.
        if head != b"%b%d%b" % (self._before_index, self.index, self._behind_index):
            return None
        # `partition` and `rpartition` take less time than `find`, `startswith` and `endswith` with a slice.
        _, field, rest = frame.rpartition(TEXT_FIELD)
        text, end, beyond = rest.rpartition(b'"}}')
        if beyond or not (field and end):
            return None
        self._text += text
        self.index += 1
        return frame

    # ---- the others

    def take(self, delta: Frame) -> bool:
        """Whether the delta is the next one to show; it is part of the text then.

        Raises ValueError, KeyError or TypeError when its frame is none.
        """
        if delta.index > self.index:
            self._hold(delta)
            return False
        if delta.index < self.index:
            return False
        text = encoded_text(delta.data)
        self._know_author(delta.data)
        self._text += text
        self.lost = False
        self.index += delta.n
        return True

    def replace(self, message: OpenMessage) -> bool:
        """Takes the whole text from Redis; False when it is not newer than what was shown."""
        if message.index <= self.index:
            return False
        self.seq, self.index, self.lost = message.seq, message.index, False
        self._text = bytearray(orjson.dumps(message.text)[1:-1])
        author = message.author
        self._frames = DeltaFrames(
            self._session, message.run, message.message, message.turn, author.name, author.display_name
        )
        return True

    def replace_by_frame(self, index: int, frame: bytes) -> bool:
        """The same from a `message.snapshot`. Raises ValueError, KeyError or TypeError when it is none."""
        if index <= self.index:
            return False
        text = encoded_text(frame)
        self._know_author(frame)
        self._text = bytearray(text)
        self.index, self.lost = index, False
        return True

    def held(self) -> list[Frame]:
        """The deltas that waited, in order, and no longer do."""
        held = [self._held[index] for index in sorted(self._held)]
        self._held.clear()
        return held

    def snapshot(self) -> Frame | None:
        """All that was shown, as one frame; None when there is nothing."""
        if self.index == 0:
            return None
        assert self._frames is not None, "some frame has told who writes"
        return Frame(self._frames.snapshot_of(self.index, bytes(self._text)))

    def _hold(self, delta: Frame) -> None:
        self.lost = True
        self._held[delta.index] = delta
        if len(self._held) > MAX_HELD:
            self._held.clear()

    def _know_author(self, frame: bytes) -> None:
        """The first frame tells whose message it is."""
        if self._frames is None:
            event = orjson.loads(frame)
            data = event["data"]
            author = data["author"]
            self._frames = DeltaFrames(
                self._session,
                RunId(event["run"]),
                data["message"],
                data["turn"],
                author["name"],
                author["display_name"],
            )
