"""The rooms of a worker: opened with the first follower of a session, repaired when something is missing, gone with
the last follower."""

import asyncio
import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice

from hub.domain.errors import BadRequest, HubError, NotFound, Unavailable
from hub.domain.ids import SessionId
from hub.gateway.follower import Follower, catch_up
from hub.gateway.outbox import Outbox
from hub.gateway.passing import Passing
from hub.gateway.room import Room
from hub.protocol.frames import LoggedEvent
from hub.relay import envelope, keys
from hub.relay.open_messages import OpenMessage, OpenMessages
from hub.relay.subscriber import Subscriber, Subscription
from hub.store import log
from hub.store.database import Store

PAGE = 500
REMEMBERED = 64  # of the events before a room was opened; most replays need no others
CONFIRM_S = 1.0  # then the room opens without Redis: the position check carries it
REORDER_S = 0.02  # what two workers published crosswise is usually complete by then
CHECK_S = 2.0
SESSIONS_PER_CHECK = 1_000
REPAIR_ROUNDS = 4
RETRY_S = 0.5


class _Entry:
    """A room, how many follow or want to, and what tells them that it is open (or why it is not)."""

    __slots__ = ("holders", "lags", "opened", "repairing", "room", "subscription")

    def __init__(self, room: Room, opened: "asyncio.Future[HubError | None]") -> None:
        self.room = room
        self.opened = opened
        self.holders = 0
        self.repairing = False
        self.lags = False  # the log was found to be ahead of it
        self.subscription: Subscription | None = None


class Rooms:
    """`tasks` owns openings, repairs and replays; `run` checks positions."""

    def __init__(
        self,
        store: Store,
        subscriber: Subscriber,
        open_messages: OpenMessages,
        tasks: asyncio.TaskGroup,
        *,
        check_s: float = CHECK_S,
    ) -> None:
        self._store = store
        self._subscriber = subscriber
        self._open_messages = open_messages
        self._tasks = tasks
        self._check_s = check_s
        self._entries: dict[SessionId, _Entry] = {}
        self._any = asyncio.Event()  # set while there may be rooms
        self.healed = 0  # events that rooms did not get through Redis
        self.position_fixes = 0
        self._rejected = 0  # by rooms that are gone
        self._misrouted = 0  # to rooms that are gone
        self._on_left: Callable[[SessionId, AbstractSet[str]], object] | None = None
        self._passing = Passing()
        self.token_times = self._passing.times  # from the model to the sockets, of some tokens
        subscriber.after_read(self._passing.read_ended)

    def __len__(self) -> int:
        return len(self._entries)

    def when_left(self, call: Callable[[SessionId, AbstractSet[str]], object]) -> None:
        """`call` is called when users have been shown that they are members of a session no more, and is to end their
        following. To be said before the first room is opened."""
        self._on_left = call

    @property
    def rejected(self) -> int:
        """Payloads from Redis that were none."""
        return self._rejected + sum(entry.room.rejected for entry in self._entries.values())

    @property
    def misrouted(self) -> int:
        """Frames of other sessions than the one whose channel they came on."""
        return self._misrouted + sum(entry.room.misrouted for entry in self._entries.values())

    async def open(self, session: SessionId, outbox: Outbox, *, after_seq: int | None, known_seq: int = 0) -> Follower:
        """Begins to follow a session that the caller may see. `known_seq` is a seq its log is known to have reached.

        Raises `NotFound`, `Unavailable`, and `BadRequest` when `after_seq` is beyond the log. Takes a few seconds at
        most.
        """
        entry = self._entries.get(session) or self._begin(session)
        entry.holders += 1
        try:
            await self._caught_up(entry, after_seq, known_seq)
        except BaseException:
            self._release(entry)
            raise
        return Follower(
            entry.room,
            outbox,
            after_seq,
            read_page=partial(self._page, session),
            tasks=self._tasks,
            on_close=partial(self._release, entry),
        )

    async def _caught_up(self, entry: _Entry, after_seq: int | None, known_seq: int) -> None:
        """Returns when the room is open and has shown all that the caller knows of."""
        await asyncio.wait((entry.opened,))
        if (error := entry.opened.result()) is not None:
            raise error
        if max(known_seq, after_seq or 0) > entry.room.last_seq:
            await catch_up(entry.room, partial(self._page, entry.room.session))
        last_seq = entry.room.last_seq
        if after_seq is not None and after_seq > last_seq:
            raise BadRequest("after_seq is in the future", details={"last_seq": last_seq})

    async def run(self) -> None:
        """Finds what was lost without a trace: compares the position of every room with the log, for ever."""
        while True:
            if not self._entries:
                self._any.clear()
                await self._any.wait()
            await asyncio.sleep(random.uniform(0.7, 1) * self._check_s)  # noqa: S311 (jitter)
            entries = iter([entry for entry in self._entries.values() if entry.room.started])
            while some := {entry.room.session: entry for entry in islice(entries, SESSIONS_PER_CHECK)}:
                try:
                    async with self._store.statements() as db:
                        known = {session: entry.room.last_seq for session, entry in some.items()}
                        ahead = await log.ahead(db, known)
                except Unavailable:
                    break
                for session, entry in some.items():
                    if entry.room.needs_text:
                        self._need(entry)
                    last_seq = ahead.get(session, 0)
                    entry.lags = last_seq > entry.room.last_seq
                    entry.room.reaches(last_seq)

    # ---- life of a room

    def _begin(self, session: SessionId) -> _Entry:
        opened: asyncio.Future[HubError | None] = asyncio.get_running_loop().create_future()
        entry = _Entry(Room(session, lambda: self._need(entry), self._passing.add, self._on_left), opened)
        self._entries[session] = entry
        self._any.set()
        self._tasks.create_task(self._open(entry))
        return entry

    def _release(self, entry: _Entry) -> None:
        entry.holders -= 1
        if entry.holders == 0:
            self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        if self._entries.get(entry.room.session) is entry:
            del self._entries[entry.room.session]
            self._rejected += entry.room.rejected
            self._misrouted += entry.room.misrouted
        if entry.subscription is not None:
            entry.subscription.cancel()

    async def _open(self, entry: _Entry) -> None:
        room = entry.room
        if entry.holders == 0:
            entry.opened.set_result(Unavailable("nobody waits for the session any more"))
            return
        entry.subscription = self._subscriber.listen(keys.channel(room.session), room)
        try:
            if self._subscriber.connected:
                await asyncio.wait((entry.subscription.confirmed,), timeout=CONFIRM_S)
            # A confirmation that comes only after this is a gap.
            room.log_question()
            room.needs_text = False
            async with self._store.statements() as db:
                last_seq = await log.last_seq(db, room.session)
            if last_seq is None:
                raise NotFound("no such session")
            # What was under way through Redis may come late, of messages that ended before: it must know of those.
            recent = await self._page(room.session, max(0, last_seq - REMEMBERED)) if last_seq else ()
            room.start(last_seq, await self._open_at_first(room.session), recent)
            entry.opened.set_result(None)
        except HubError as error:
            # The next one who comes tries anew.
            self._forget(entry)
            entry.opened.set_result(error)

    async def _open_at_first(self, session: SessionId) -> list[OpenMessage]:
        if not self._subscriber.connected:
            return []
        try:
            return await self._open_now(session)
        except Unavailable:
            return []

    async def _open_now(self, session: SessionId) -> list[OpenMessage]:
        """The messages that are open. One that has ended may still stand in Redis, which may have been away then: the
        log decides."""
        messages = await self._open_messages.snapshots(session)
        after = min((message.seq for message in messages), default=0)
        while messages and (events := await self._page(session, after)):
            after = events[-1].seq
            for event in events:
                messages = [message for message in messages if not _ends(event, message)]
        return messages

    # ---- repair

    def _need(self, entry: _Entry) -> None:
        if not entry.repairing and entry.holders > 0:
            entry.repairing = True
            self._tasks.create_task(self._repair(entry))

    async def _repair(self, entry: _Entry) -> None:
        """Gets what the room misses. What it cannot get now, the position check or the next message asks for again."""
        room = entry.room
        try:
            await asyncio.sleep(REORDER_S)
            for _ in range(REPAIR_ROUNDS):
                if room.needs_log:
                    before = room.last_seq
                    await catch_up(room, partial(self._page, room.session))
                    self.healed += room.last_seq - before
                    self.position_fixes += entry.lags and room.last_seq > before
                entry.lags = False
                if not room.needs_text:
                    break
                room.needs_text = False
                room.restore(await self._open_now(room.session))
        except Unavailable:
            await asyncio.sleep(RETRY_S)
        finally:
            entry.repairing = False

    async def _page(self, session: SessionId, after: int) -> Sequence[LoggedEvent]:
        async with self._store.statements() as db:
            return await log.read(db, session, after=after, limit=PAGE)


def _ends(event: LoggedEvent, message: OpenMessage) -> bool:
    closed = envelope.closes(event)
    return closed == message.message or (closed == envelope.ALL and message.seq < event.seq)
