"""Messages that are being written, put together from deltas and snapshots (protocol, section 4).

A delta below the next index is dropped; one above it makes the message wait for a snapshot or its completion. So what
`OpenMessages.apply` hands on can be appended as it comes: no piece twice, none missing in between.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from hub.protocol.events import (
    AnyEvent,
    MessageCompleted,
    MessageDelta,
    MessageSnapshot,
    ReasoningDelta,
    RunFinished,
    TurnSuperseded,
)
from hub.protocol.pieces import AgentAuthor

REMEMBERED_ENDS = 512  # late pieces come within a second of a message's end


@dataclass(slots=True)
class OpenMessage:
    """A message as far as it is written. `index` is the next delta's; `waiting`: pieces are missing after `text`."""

    message: str
    author: AgentAuthor
    turn: int
    run: str | None
    text: str = ""
    reasoning: str = ""
    index: int = 0
    reasoning_index: int = 0
    waiting: bool = False


class OpenMessages:
    """The open messages of one session, in the order in which they began."""

    def __init__(self) -> None:
        self._open: dict[str, OpenMessage] = {}
        self._ended: set[str] = set()
        self._end_order: deque[str] = deque()

    def __iter__(self) -> Iterator[OpenMessage]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def get(self, message: str) -> OpenMessage | None:
        """The open message with this id."""
        return self._open.get(message)

    def apply(self, event: AnyEvent) -> bool:
        """Take an event in. False: it must not be shown, because it is a repeated or a too early piece."""
        match event:
            case MessageDelta():
                return self._delta(event)
            case MessageSnapshot():
                return self._snapshot(event)
            case ReasoningDelta():
                return self._reasoning(event)
            case MessageCompleted():
                self._end(event.data.message)
            case TurnSuperseded():
                for message in event.data.messages:
                    self._end(message)
            case RunFinished():
                for open_message in [m for m in self._open.values() if m.run == event.run]:
                    self._end(open_message.message)
            case _:
                pass
        return True

    def _delta(self, event: MessageDelta) -> bool:
        data = event.data
        message = self._find(event)
        if message is None:
            return False
        if data.index != message.index:
            if data.index + (data.n or 1) > message.index:
                message.waiting = True
            return False
        message.text += data.text
        message.index += data.n or 1
        return True

    def _snapshot(self, event: MessageSnapshot) -> bool:
        message = self._find(event)
        if message is None:
            return False
        message.text = event.data.text
        message.index = event.data.index
        message.waiting = False
        return True

    def _reasoning(self, event: ReasoningDelta) -> bool:
        message = self._find(event)
        # Reasoning is best effort and has no snapshot: a hole in it is shown rather than waited for.
        if message is None or event.data.index < message.reasoning_index:
            return False
        message.reasoning += event.data.text
        message.reasoning_index = event.data.index + 1
        return True

    def _find(self, event: MessageDelta | MessageSnapshot | ReasoningDelta) -> OpenMessage | None:
        data = event.data
        if data.message in self._ended:
            return None
        known = self._open.get(data.message)
        if known is None:
            known = OpenMessage(data.message, data.author, data.turn, event.run)
            self._open[data.message] = known
        return known

    def _end(self, message: str) -> None:
        self._open.pop(message, None)
        if message in self._ended:
            return
        self._ended.add(message)
        self._end_order.append(message)
        if len(self._end_order) > REMEMBERED_ENDS:
            self._ended.discard(self._end_order.popleft())
