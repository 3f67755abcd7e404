"""The one way a run writes: fenced in PostgreSQL, then published."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from hub.domain.run import Lease
from hub.protocol.frames import LoggedEvent, NewEvent, live_frame
from hub.protocol.live import LiveData
from hub.relay.broadcast import Broadcast
from hub.runs.lease import HeldLease
from hub.store import log
from hub.store.database import Db, NotBegun, Store
from hub.store.log import LeaseLost

RETRY_S, RETRY_MAX_S = 0.1, 2.0  # all runs of a worker ask at once, and asking has its price

Also = Callable[[Db, list[LoggedEvent]], Awaitable[Sequence[NewEvent]]]
"""What else belongs into the transaction, given the events as they were logged. Gives what is to be logged after
them."""

Write = Callable[[Db, Sequence[NewEvent], int], Awaitable[list[LoggedEvent]]]
"""Appends these events, and what belongs to them, in one statement: all of it or nothing. The number is that of events
that come before those it knows of."""

WriteAlone = Callable[[Db, Sequence[NewEvent], int], Awaitable[list[LoggedEvent] | None]]
"""The same where the statement is all that is written. None: nothing was written, for it takes more than that."""


class Journal:
    """Writes the durable events of one run under its lease, which is `held`."""

    def __init__(self, store: Store, broadcast: Broadcast, held: HeldLease) -> None:
        self._store = store
        self._broadcast = broadcast
        self.held = held
        self.seq = 0  # of the newest event of this journal
        self._held_back: list[NewEvent] = []

    @property
    def lease(self) -> Lease:
        return self.held.lease

    def refuse(self) -> None:
        """Something was not written, because another worker holds the lease."""
        self.held.refused = True

    def hold_back(self, event: NewEvent) -> None:
        """Write this event together with the next ones, before them."""
        self._held_back.append(event)

    async def append(
        self,
        events: Sequence[NewEvent],
        also: Also | None = None,
        before_publishing: Callable[[], Awaitable[None]] | None = None,
        *,
        write: Write | None = None,
        alone: WriteAlone | None = None,
    ) -> list[LoggedEvent]:
        """Commit these events in one transaction (with what `write` does where it is given, and then what `also` does,
        given these), then publish them. `alone` is tried before, where it is given.

        `before_publishing` is awaited in between: what was shown before must be out before they are.
        """
        early = len(self._held_back)
        events = [*self._held_back, *events]
        if also is None and alone is None:
            alone = write or self._append
        pause_s = RETRY_S
        while True:
            self.held.check()
            try:
                logged = await self._commit_alone(events, early, alone) if alone is not None else None
                if logged is None:
                    logged = await self._commit(events, early, write or self._append, also)
                break
            except LeaseLost:
                self.refuse()
                raise
            except NotBegun:  # the database is crowded, or away: this waits for it as long as the lease stands
                await asyncio.sleep(random.uniform(0.5, 1) * pause_s)  # noqa: S311 (jitter)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
        self._held_back.clear()
        if before_publishing is not None:
            await before_publishing()
        if logged:
            self.seq = logged[-1].seq
        # Whoever stands still before they leave is silent afterwards: they are in the log, where rooms find them.
        self._broadcast.events(logged, self.held.has_time)
        return logged

    async def _append(self, db: Db, events: Sequence[NewEvent], _: int) -> list[LoggedEvent]:
        return await log.append(db, self.lease.session, events, lease=self.lease) if events else []

    async def _commit_alone(
        self, events: Sequence[NewEvent], early: int, alone: WriteAlone
    ) -> list[LoggedEvent] | None:
        """One round trip instead of three. Not with a database that was silent for a while: of a statement without an
        answer nobody knows what came of it, while a transaction that has not begun may begin later."""
        if not self._store.answers:
            return None
        async with self._store.statements() as db:
            return await alone(db, events, early) if not db.was_cut_off else None

    async def _commit(
        self, events: Sequence[NewEvent], early: int, write: Write, also: Also | None
    ) -> list[LoggedEvent]:
        # The lock: what `write` reads is as of after it.
        async with self._store.transaction(lock=self.lease.session) as db:
            logged = await write(db, events, early)
            if also is not None:
                more = await also(db, logged[early:])
                if more:  # the lease was checked above, and holds until the end of the transaction
                    logged += await log.append(db, self.lease.session, more)
        return logged

    def live(self, data: LiveData) -> None:
        """Show something that needs no record."""
        if self.held.is_valid:
            lease = self.lease
            self._broadcast.live(lease.session, live_frame(data, lease.session, lease.run), self.held.has_time)
