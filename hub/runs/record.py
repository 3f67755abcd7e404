"""What is written of a run beside its turns: that it begins, ends between two of them, is given back."""

from collections.abc import Sequence

import structlog

from hub.domain.errors import HubError, Unavailable
from hub.domain.run import ClaimedRun, TurnBooks
from hub.protocol.durable import TurnSupersededData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.relay.deltas import DeltaPublisher
from hub.runs.ending import End, failed, finished_event, finished_run
from hub.runs.journal import Journal
from hub.runs.loading import Loaded
from hub.runs.steering import follow_up
from hub.store import leases, messages, runs, steering, usage
from hub.store.database import Db, Store
from hub.store.log import LeaseLost


class RunRecord:
    """Writes it for one run. `usage` is what all its turns have used so far."""

    def __init__(self, store: Store, journal: Journal, deltas: DeltaPublisher, run: ClaimedRun) -> None:
        self._store = store
        self._journal = journal
        self._deltas = deltas
        self._run = run
        self.usage = run.usage
        self._log = structlog.get_logger("hub.runs").bind(run=run.lease.run, session=run.lease.session)

    async def begin(self, loaded: Loaded, started: NewEvent) -> None:
        """Say that the run starts here; what an earlier attempt showed of the turn in flight is void.

        A fresh run says so together with its first event: that saves its first token a commit.
        """
        lease = self._run.lease
        if loaded.unfinished is None:
            if loaded.goes_on:
                await self._journal.append([started])
            else:
                self._journal.hold_back(started)
            return
        completed = loaded.completed
        void = TurnSupersededData(
            turn=loaded.unfinished.turn,
            attempt=loaded.unfinished.attempt,
            messages=list(dict.fromkeys([*completed, *loaded.voided])),
            reason="the worker that ran this turn was lost",
        )

        async def write(db: Db, logged: list[LoggedEvent]) -> Sequence[NewEvent]:
            await messages.void(db, lease.session, [(message, logged[0].seq) for message in completed])
            return ()

        await self._journal.append([NewEvent(void, lease.run), started], write)
        self._deltas.close(lease.session, loaded.kept_open)

    async def book(self, turn: int, books: TurnBooks) -> None:
        """Record what a turn has cost that was cut off, say because what it answers was edited."""
        try:
            async with self._store.statements() as db:
                await usage.book(db, self._run.lease.run, turn, books)
        except Unavailable:
            self._log.warning("usage_lost", turn=turn)

    async def finish(self, end: End, before: Sequence[NewEvent] = (), *, turns: int | None = None) -> None:
        """End the run between two turns; `before` is told before its end."""
        done, lease = self._run.turn if turns is None else turns, self._run.lease

        async def write(db: Db, _: list[LoggedEvent]) -> Sequence[NewEvent]:
            await runs.finish(db, lease, finished_run(end, turns=done, usage=self.usage))
            return await follow_up(db, lease.session, lease.run, await steering.waiting(db, lease.session, lease.run))

        await self._journal.append([*before, finished_event(self._run, end, turns=done, usage=self.usage)], write)

    async def crash(self) -> None:
        """End the run for a fault of the hub's own, if that can be written."""
        try:
            await self.finish(failed("internal", "the hub failed to carry out this run"))
        except (LeaseLost, HubError):
            self._log.warning("run_abandoned", reason="could not record the crash")

    async def release(self, *, clean: bool) -> None:
        """Give the lease back, for the next holder to go on from the last checkpoint. `clean`: nothing was shown since
        then."""
        try:
            async with self._store.statements() as db:
                await leases.release(db, self._run.lease, clean=clean)
        except Unavailable:
            self._log.warning("lease_left_to_expire")
