"""The end of a turn: its messages, checkpoint, books and the run's new position, written in one statement.

It follows `log.append` in the same transaction, which has checked the lease and locked session and run: what is read
here is as of after that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId
from hub.domain.run import Lease, RunStatus, TurnBooks, Usage
from hub.store import messages, pending, runs, steering, usage
from hub.store.database import Db
from hub.store.log import LeaseLost
from hub.store.messages import AgentMessage
from hub.store.pending import PendingInput
from hub.store.steering import WaitingMessage

KEPT = 3  # newest whole checkpoints per session: what a cut goes back to; their total size would grow quadratically

# The new checkpoint is not in the snapshot the DELETE sees, hence one less is kept of the others.
_WRITTEN = f"""
    said AS ({messages.INSERT_AGENTS}),
    taken_in AS (
        UPDATE messages SET in_state = true, state_seq = coalesce(state_seq, CAST(:seq AS bigint))
        WHERE session_id = CAST(:session AS uuid) AND id = ANY(CAST(:taken_in AS uuid[]))),
    pruned AS (
        DELETE FROM checkpoints
        WHERE CAST(:state AS text) IS NOT NULL AND session_id = CAST(:session AS uuid) AND (NOT whole OR seq <= (
            SELECT seq FROM checkpoints WHERE session_id = CAST(:session AS uuid) AND whole
            ORDER BY seq DESC OFFSET :kept - 1 LIMIT 1))),
    saved AS (
        INSERT INTO checkpoints (session_id, seq, run_id, turn, engine, state, whole, created_at)
        SELECT CAST(:session AS uuid), CAST(:seq AS bigint), CAST(:run AS uuid), CAST(:turn AS int) - 1,
               CAST(:engine AS text), CAST(:state AS text), CAST(:whole AS bool), clock_timestamp()
        WHERE CAST(:state AS text) IS NOT NULL),
    booked AS ({usage.BOOKED})
"""

# Messages taken in just now are pending still in the snapshot.
_GO_ON = text(f"""
    WITH {_WRITTEN}, held AS (
        {runs.ADVANCE} RETURNING id AS run, status, {runs.BUDGETED.format(run="runs")} AS budgeted)
    SELECT pending.*, held.status AS run_status, held.budgeted FROM held LEFT JOIN ({pending.PENDING}) AS pending
        ON pending.id <> ALL(CAST(:taken_in AS text[]))
    ORDER BY pending.state_seq, pending.seq
""")

_FINISH = text(f"""
    WITH {_WRITTEN}, held AS ({runs.FINISH} RETURNING id AS run)
    SELECT waiting.* FROM held LEFT JOIN ({steering.WAITING}) AS waiting ON true ORDER BY waiting.seq
""")


@dataclass(frozen=True, slots=True)
class WentOn:
    """What the next turn must be given, oldest first; `paused`: not now, for the run is paused. `budgeted` as in
    `ClaimedRun`, by now."""

    pending: tuple[PendingInput, ...]
    paused: bool
    budgeted: bool = False


@dataclass(frozen=True, slots=True)
class ClosedTurn:
    """What a turn, or a turn's part up to calls, leaves behind.

    `turns` is the number of finished turns after it, `seq` the log position at its end. `state` is the engine's, as
    JSON text, if the turn was finished; it holds the messages `said` and `taken_in` then. `whole`: the turn is over,
    and does not go on after calls.
    """

    lease: Lease
    turns: int
    seq: int
    engine: str
    state: str | None
    said: Sequence[AgentMessage]
    taken_in: Sequence[MessageId]
    books: TurnBooks
    whole: bool = True


async def go_on(db: Db, closed: ClosedTurn, total: Usage) -> WentOn:
    """Record the turn. `total` is the run's usage so far. After a whole turn, a run that was asked to pause is paused,
    and its lease given back.

    Raises `LeaseLost` for an old lease.
    """
    values = {
        **_values(closed),
        "prompt": total.prompt_tokens,
        "completion": total.completion_tokens,
        "cost": total.cost_micros,
        "pausable": closed.whole,
    }
    rows = (await db.execute(_GO_ON, values)).all()
    if not rows:
        raise LeaseLost
    given = pending.pending_of(row for row in rows if row.id is not None)
    return WentOn(tuple(given), rows[0].run_status == RunStatus.PAUSED, rows[0].budgeted)


async def finish(db: Db, closed: ClosedTurn, end: runs.FinishedRun) -> list[WaitingMessage]:
    """Record the turn and end the run with it; `end.turns` is `closed.turns`. What is left are the messages that were
    to steer the run and that no turn has taken, oldest first.

    Raises `LeaseLost` for an old lease or a run that has ended.
    """
    rows = (await db.execute(_FINISH, {**_values(closed), **runs.finish_values(closed.lease, end)})).all()
    if not rows:
        raise LeaseLost
    return [WaitingMessage(MessageId(row.id), row.seq) for row in rows if row.id is not None]


def _values(closed: ClosedTurn) -> dict[str, Any]:
    finished = closed.state is not None
    return messages.values_of(closed.lease.session, closed.said, state_seq=closed.seq if finished else None) | {
        "run": closed.lease.run,
        "epoch": closed.lease.epoch,
        "turn": closed.turns,
        "seq": closed.seq,
        "engine": closed.engine,
        "state": closed.state,
        "whole": closed.whole,
        "taken_in": list(closed.taken_in) if finished else [],
        "kept": KEPT,
        **usage.values_of(closed.books),
    }
