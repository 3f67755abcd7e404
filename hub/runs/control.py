"""Asking runs to stop, from any worker."""

from dataclasses import dataclass
from datetime import UTC, datetime

from hub.domain.ids import RunId, SessionId
from hub.domain.run import Lease, Run, RunStatus
from hub.protocol.durable import RunFinishedData
from hub.protocol.frames import NewEvent
from hub.protocol.pieces import UsageData
from hub.relay.broadcast import Broadcast
from hub.relay.deltas import DeltaPublisher
from hub.runs.steering import follow_up
from hub.store import runs, steering
from hub.store.database import Db


@dataclass(frozen=True, slots=True)
class Stops:
    """What stopping came to: events to append in the same transaction, and live runs to tell once it is committed.
    `silenced` are the leases nobody has of runs that were ended in their holder's hands."""

    events: tuple[NewEvent, ...] = ()
    live: tuple[RunId, ...] = ()
    silenced: tuple[Lease, ...] = ()


class RunControl:
    """Stops runs in the caller's transaction and tells the workers afterwards.

    A run that nobody works on (queued, waiting, paused) ends at once. Another one is marked, and its runner ends it: it
    sees the mark within a second even when the notice is lost.
    """

    def __init__(self, broadcast: Broadcast, deltas: DeltaPublisher) -> None:
        self._broadcast = broadcast
        self._deltas = deltas

    async def stop(self, db: Db, run: Run, reason: str) -> Stops:
        """Stop this run. The session's row is locked by the caller."""
        if run.status is not RunStatus.RUNNING and await runs.finish_idle(db, run.id, reason):
            left = await steering.waiting(db, run.session, run.id)
            following = await follow_up(db, run.session, run.id, left)
            return Stops(events=(_cancelled(run, reason), *following))
        # A runner may have claimed it since the caller looked.
        return Stops(live=(run.id,)) if await runs.ask_stop(db, run.id, reason) else Stops()

    async def end_from(self, db: Db, session: SessionId, seq: int, reason: str) -> Stops:
        """End the live run and the queued ones whose input is at `seq` or after it, without waiting for a runner.

        What was to steer one of them and stands before `seq` gets a run of its own.
        """
        events: list[NewEvent] = []
        ended = await runs.end_from(db, session, seq, reason)
        for run, _ in ended:
            left = [message for message in await steering.waiting(db, session, run.id) if message.seq < seq]
            events += [_cancelled(run, reason), *await follow_up(db, session, run.id, left)]
        held = [lease for run, lease in ended if run.attempt > 0]
        return Stops(tuple(events), tuple(lease.run for lease in held), tuple(held))

    def announce(self, stops: Stops) -> None:
        """Tell the runners, after the commit. What a run shows that was ended in its holder's hands ends here."""
        for lease in stops.silenced:
            self._deltas.silence(lease)
        for run in stops.live:
            self._broadcast.stop_run(run)
        if stops.events:
            self.wake()

    def wake(self) -> None:
        """Tell the runners that there is a run to claim, after the commit."""
        self._broadcast.run_queued()


def _cancelled(run: Run, reason: str) -> NewEvent:
    data = RunFinishedData(
        status="cancelled",
        reason=reason,
        usage=UsageData.of(run.usage),
        input_seq=run.input_seq,
        turns=run.turns,
        duration_ms=max(0, round((datetime.now(UTC) - run.created_at).total_seconds() * 1000)),
    )
    return NewEvent(data, run.id)
