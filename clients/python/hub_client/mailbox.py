"""The bounded queue between the connection's reader and whoever reads a session's events.

The reader never waits for it: a slow consumer gets merged deltas first, and when even the durable events are too many
the mailbox says that it is full, and the session follows the log again from where the consumer stands.
"""

import asyncio
from collections import deque

from hub.protocol.events import AnyEvent, DurableEvent, MessageDelta

MERGE_ABOVE = 64  # waiting events from which on deltas of one message are merged
FULL_AT = 4096


class Mailbox:
    """Events in order, for one consumer."""

    def __init__(self, full_at: int = FULL_AT) -> None:
        self._full_at = full_at
        self._events: deque[list[AnyEvent]] = deque()  # cells of one event, so that a waiting delta can grow
        self._growing: dict[str, list[AnyEvent]] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: AnyEvent) -> bool:
        """Add an event. False: there is no room, and the event is not in it."""
        if isinstance(event, MessageDelta) and self._grow(event):
            return True
        if len(self._events) >= self._full_at:
            return False
        cell: list[AnyEvent] = [event]
        self._events.append(cell)
        if isinstance(event, MessageDelta):
            self._growing[event.data.message] = cell
        elif isinstance(event, DurableEvent):
            self._growing.clear()  # text never moves to the other side of a durable event
        else:
            self._growing.pop(getattr(event.data, "message", ""), None)
        self._changed.set()
        return True

    def _grow(self, event: MessageDelta) -> bool:
        cell = self._growing.get(event.data.message)
        if cell is None or len(self._events) <= MERGE_ABOVE:
            return False
        waiting = cell[0]
        assert isinstance(waiting, MessageDelta)
        merged = waiting.data.model_copy(
            update={"text": waiting.data.text + event.data.text, "n": (waiting.data.n or 1) + (event.data.n or 1)}
        )
        cell[0] = waiting.model_copy(update={"data": merged})
        return True

    async def take(self) -> AnyEvent | None:
        """The next event; None at the end. Raises what the mailbox was closed with, after everything before it."""
        while not self._events:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        cell = self._events.popleft()
        event = cell[0]
        if isinstance(event, MessageDelta) and self._growing.get(event.data.message) is cell:
            del self._growing[event.data.message]
        return event

    def close(self, error: Exception | None = None) -> None:
        """No more events come; the first close counts."""
        if not self._closed:
            self._closed = True
            self._error = error
            self._changed.set()
