"""The end of a turn: its events, messages, checkpoint, books and the run's new position, written in one statement.

The statement may be a transaction of its own (`alone`). What it reads for the run's next step, or at its end, must be
as of after the session was locked. A statement sees what was there when it began: alone it writes only if nobody has
appended anything between that moment and the lock, and if nothing else is to be written in the same transaction.
Otherwise it is to be repeated in a transaction that has locked the session before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId
from hub.domain.run import Lease, RunStatus, TurnBooks, Usage
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.store import leases, log, messages, pending, runs, steering, usage
from hub.store.database import Db
from hub.store.messages import AgentMessage
from hub.store.pending import PendingInput
from hub.store.steering import WaitingMessage
from hub.store.transaction import Row

KEPT = 3  # newest whole checkpoints per session: what a cut goes back to; their total size would grow quadratically

_CURRENT = "place.last_seq = (SELECT last_seq FROM sessions WHERE id = CAST(:session AS uuid))"

# Where the log ends with this turn. One without events stands where the run's last event does.
_AT = "CASE WHEN :n > 0 THEN before + :n ELSE CAST(:known_seq AS bigint) END"
_MANY = "cardinality(CAST(:taken_in AS uuid[]))"
_STATE_SEQ = f"CASE WHEN CAST(:state AS text) IS NOT NULL THEN {_AT} END"

# The new checkpoint is not in the snapshot the DELETE sees, hence one less is kept of the others. What is taken in is
# found by its ids alone, however long the session is, also while PostgreSQL does not know how many messages there are:
# the bound says that these are few.
_TOLD = f"""
    said AS ({messages.INSERT_AGENTS.format(state_seq=_STATE_SEQ)}),
    taken_in AS (
        UPDATE messages m SET in_state = true, state_seq = coalesce(m.state_seq, {_AT})
        FROM position, (SELECT id FROM unnest(CAST(:taken_in AS uuid[])) AS id LIMIT {_MANY}) AS heard
        WHERE m.id = heard.id)
"""
_FORGOTTEN = """
    forgotten AS (
        DELETE FROM tool_calls
        WHERE CAST(:state AS text) IS NOT NULL AND CAST(:whole AS bool) AND EXISTS (SELECT FROM held)
          AND session_id = CAST(:session AS uuid))
"""
_KEPT = f"""
    pruned AS (
        DELETE FROM checkpoints
        WHERE CAST(:state AS text) IS NOT NULL AND EXISTS (SELECT FROM held)
          AND session_id = CAST(:session AS uuid) AND (NOT whole OR seq <= (
            SELECT seq FROM checkpoints WHERE session_id = CAST(:session AS uuid) AND whole
            ORDER BY seq DESC OFFSET :kept - 1 LIMIT 1))),
    saved AS (
        INSERT INTO checkpoints (session_id, seq, run_id, turn, engine, state, whole, created_at)
        SELECT CAST(:session AS uuid), {_AT}, CAST(:run AS uuid), CAST(:turn AS int) - 1,
               CAST(:engine AS text), CAST(:state AS text), CAST(:whole AS bool), clock_timestamp()
        FROM position WHERE CAST(:state AS text) IS NOT NULL),
    booked AS ({usage.BOOKED.format(run="held")})
"""
_WRITTEN = f"{_TOLD}, {_FORGOTTEN}, {_KEPT}"

# Messages taken in just now are pending still in the snapshot.
_GO_ON = text(f"""
    WITH {log.fenced(f"(NOT CAST(:alone AS bool) OR (NOT r.pause_asked AND {_CURRENT}))")}, {_WRITTEN}, advanced AS (
        {runs.ADVANCE} AND EXISTS (SELECT FROM held)
        RETURNING status, {leases.BUDGETED.format(run="runs")} AS budgeted)
    SELECT found.there, position.before, position.ts, advanced.status AS run_status, advanced.budgeted, pending.*
    FROM {log.FENCED_POSITION} LEFT JOIN advanced ON true
    LEFT JOIN ({pending.PENDING}) AS pending
        ON position.before IS NOT NULL AND pending.id <> ALL(CAST(:taken_in AS text[]))
    ORDER BY pending.state_seq, pending.seq
""")

_FINISH = text(f"""
    WITH {log.fenced(f"(NOT CAST(:alone AS bool) OR (NOT EXISTS ({steering.WAITING}) AND {_CURRENT}))")}, {_WRITTEN},
    ended AS ({runs.FINISH} AND EXISTS (SELECT FROM held))
    SELECT found.there, position.before, position.ts, waiting.*
    FROM {log.FENCED_POSITION} LEFT JOIN ({steering.WAITING}) AS waiting ON position.before IS NOT NULL
    ORDER BY waiting.seq
""")

# What ends nearly every run: alone, with no calls to forget. PostgreSQL sets each part up anew, also those that have
# nothing to do.
_ENDED = f"""
    {runs.END} FROM place
    WHERE runs.id = CAST(:run AS uuid) AND runs.session_id = place.id AND runs.lease_epoch = :epoch
      AND {log.RUNNING.format(run="runs")} AND NOT EXISTS ({steering.WAITING}) AND {_CURRENT}
    RETURNING runs.id, runs.session_id, runs.requested_by, place.org_id
"""
_FINISH_AT_ONCE = text(f"""
    WITH {log.fenced_by(_ENDED)}, {_TOLD}, {_KEPT}
    SELECT found.there, position.before, position.ts, NULL AS id FROM {log.FENCED_POSITION}
""")


@dataclass(frozen=True, slots=True)
class WentOn:
    """What the next turn must be given, oldest first; `paused`: not now, for the run is paused. `budgeted` as in
    `ClaimedRun`, by now. `events` are those of the turn as they were logged."""

    events: list[LoggedEvent]
    pending: tuple[PendingInput, ...]
    paused: bool
    budgeted: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The events of a run's last turn as they were logged, and the messages that were to steer the run and that no turn
    has taken, oldest first."""

    events: list[LoggedEvent]
    waiting: tuple[WaitingMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class ClosedTurn:
    """What a turn, or a turn's part up to calls, leaves behind.

    `turns` is the number of finished turns after it. `events` end the turn in the log; the first message of `said` has
    number `early` (from 0) of them, the others follow it. `seq` is the newest event before them. `state` is the
    engine's, as JSON text, if the turn was finished; it holds the messages `said` and `taken_in` then. `whole`: the
    turn is over, and does not go on after calls. `calls`: the session's newest checkpoint may await some.
    """

    lease: Lease
    turns: int
    seq: int
    engine: str
    state: str | None
    events: Sequence[NewEvent]
    said: Sequence[AgentMessage]
    taken_in: Sequence[MessageId]
    books: TurnBooks
    whole: bool = True
    early: int = 0
    calls: bool = True


async def go_on(db: Db, closed: ClosedTurn, total: Usage, *, alone: bool = False) -> WentOn | None:
    """Record the turn. `total` is the run's usage so far. After a whole turn, a run that was asked to pause is paused,
    and its lease given back.

    Raises `NotFound`, and `LeaseLost` for an old lease. None, with `alone` only: nothing was written.
    """
    values = {
        "prompt": total.prompt_tokens,
        "completion": total.completion_tokens,
        "cost": total.cost_micros,
        "pausable": closed.whole,
    }
    written = await _write(db, _GO_ON, closed, values, alone=alone)
    if written is None:
        return None
    events, rows = written
    given = pending.pending_of(row for row in rows if row.id is not None)
    return WentOn(events, tuple(given), rows[0].run_status == RunStatus.PAUSED, rows[0].budgeted)


async def finish(db: Db, closed: ClosedTurn, end: runs.FinishedRun, *, alone: bool = False) -> Finished | None:
    """Record the turn and end the run with it; `end.turns` is `closed.turns`. With `alone` nothing is left waiting.

    Raises `NotFound`, and `LeaseLost` for an old lease or a run that has ended. None, with `alone` only: nothing was
    written.
    """
    statement = _FINISH_AT_ONCE if alone and not closed.calls else _FINISH
    written = await _write(db, statement, closed, runs.finish_values(closed.lease, end), alone=alone)
    if written is None:
        return None
    events, rows = written
    return Finished(events, tuple(WaitingMessage(MessageId(row.id), row.seq) for row in rows if row.id is not None))


async def _write(
    db: Db, statement: Any, closed: ClosedTurn, more: dict[str, Any], *, alone: bool
) -> tuple[list[LoggedEvent], list[Row]] | None:
    values = log.values_of(closed.lease.session, closed.events)
    finished = closed.state is not None
    rows = (
        await db.execute(
            statement,
            {
                **values,
                **log.held_by(closed.lease),
                **messages.values_of(closed.said, early=closed.early),
                "turn": closed.turns,
                "known_seq": closed.seq,
                "engine": closed.engine,
                "state": closed.state,
                "whole": closed.whole,
                "taken_in": list(closed.taken_in) if finished else [],
                "kept": KEPT,
                "alone": alone,
                **usage.values_of(closed.books),
                **more,
            },
        )
    ).all()
    if alone and rows[0].there and rows[0].before is None:
        return None
    await log.check(db, rows[0])
    return log.logged(closed.lease.session, closed.events, values["data"], rows[0]), rows
