"""Which messages of a session are open, and which are known to have ended: what comes late of those is not shown."""

from collections import OrderedDict
from collections.abc import Iterator

from hub.domain.ids import SessionId
from hub.gateway.open_stream import OpenStream

REMEMBERED_ENDS = 256


class OpenStreams:
    """The open messages of one session, in the order they came."""

    __slots__ = ("_ended", "_open", "_session", "_void")

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._open: dict[str, OpenStream] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._void = 0  # messages opened before this event have ended

    def __iter__(self) -> Iterator[OpenStream]:
        return iter(self._open.values())

    def get(self, message: str, seq: int) -> OpenStream:
        """The message, which begins with this when it is new; `seq` is that of the last durable event before it."""
        stream = self._open.get(message)
        if stream is None:
            stream = self._open[message] = OpenStream(self._session, message, seq)
        return stream

    def is_over(self, message: str, seq: int) -> bool:
        """Whether it has ended: by name, or because all that were opened before some later event have."""
        return message in self._ended or seq < self._void

    def end(self, message: str) -> None:
        """The message has ended."""
        self._open.pop(message, None)
        self._ended[message] = None
        if len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)

    def end_all(self, seq: int) -> None:
        """All that were opened before this event have ended."""
        self._void = seq
        self._open = {name: stream for name, stream in self._open.items() if stream.seq >= seq}
