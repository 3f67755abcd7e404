"""One connection that follows a session: first what it has missed, then live, without a seam."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from hub.domain.errors import Unavailable
from hub.gateway.outbox import Frame, Outbox
from hub.gateway.room import Room
from hub.protocol.frames import LoggedEvent

DEFAULT_REPLAY = 50
RETRY_S = 0.5

ReadPage = Callable[[int], Awaitable[Sequence[LoggedEvent]]]
"""The next events of the session's log after a seq; none when there are none. Raises `Unavailable`."""


async def catch_up(room: Room, read_page: ReadPage) -> None:
    """Has the room show everything the log holds. Raises `Unavailable`."""
    question = room.log_question()
    while events := await read_page(room.last_seq):
        room.absorb(events)
    room.log_answered(question)


class Follower:
    """What `Rooms.open` gives. Put the reply of the join into the outbox, then call `start`."""

    def __init__(
        self,
        room: Room,
        outbox: Outbox,
        after_seq: int | None,
        *,
        read_page: ReadPage,
        tasks: asyncio.TaskGroup,
        on_close: Callable[[], None],
    ) -> None:
        self.last_seq = room.last_seq
        self._cursor = max(0, self.last_seq - DEFAULT_REPLAY) if after_seq is None else after_seq
        self.replay_from = self._cursor + 1
        self._room = room
        self._outbox = outbox
        self._read_page = read_page
        self._tasks = tasks
        self._on_close = on_close
        self._closed = False

    def start(self) -> None:
        """Replays the events after the cursor, then the open messages, then goes live. A replay runs in a task: it
        waits for the outbox, page by page."""
        if self._closed:
            return
        if self._cursor == self._room.last_seq:
            self._room.attach(self._outbox)
        else:
            self._tasks.create_task(self._replay())

    def close(self) -> None:
        """Ends following, also in the middle of the replay. May be called twice."""
        if not self._closed:
            self._closed = True
            self._room.detach(self._outbox)
            self._on_close()

    async def _replay(self) -> None:
        while True:
            await self._outbox.space()
            if self._closed or self._outbox.closed:
                return
            # No await from here on: the room shows nothing between the last of these frames and the attach.
            frames = self._room.recent(self._cursor)
            if frames is not None:
                for frame in frames:
                    self._outbox.put(frame)
                self._room.attach(self._outbox)
                return
            try:
                events = await self._read_page(self._cursor)
            except Unavailable:
                events = ()
            if not events:
                await asyncio.sleep(random.uniform(0.5, 1) * RETRY_S)  # noqa: S311 (jitter)
                continue
            # The log may be ahead of the room: without this the room would show the same events again.
            self._room.absorb(events)
            await self._put_all(events)

    async def _put_all(self, events: Sequence[LoggedEvent]) -> None:
        for event in events:
            if self._closed:
                return
            self._outbox.put(Frame(event.frame()))
            self._cursor = event.seq
            await self._outbox.space()
