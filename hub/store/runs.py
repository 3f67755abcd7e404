"""Runs: what they are, and how they pause, wait, go on and end. Who may work on one is in `hub.store.leases`.

Locks are always taken in the order sessions row, runs row.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId
from hub.domain.run import Lease, Run, RunStatus, Usage
from hub.store.database import Db
from hub.store.log import RUNNING, LeaseLost

_COLUMNS = """id::text, session_id::text, status, team, attempt, input_seq, turn, prompt_tokens, completion_tokens,
    cost_micros, created_at, finished_at"""

_GET = text(f"SELECT {_COLUMNS} FROM runs WHERE id = CAST(:run AS uuid)")

_OPEN = text(f"""
    SELECT {_COLUMNS} FROM runs
    WHERE session_id = CAST(:session AS uuid) AND finished_at IS NULL
    ORDER BY (status = 'queued'), input_seq
""")

_PAUSES = "CAST(:pausable AS bool) AND pause_asked AND cancel_reason IS NULL"

# Statements that end a turn are made of these (`hub.store.closing`).
ADVANCE = f"""
    UPDATE runs SET turn = :turn, prompt_tokens = :prompt, completion_tokens = :completion, cost_micros = :cost,
        status = CASE WHEN {_PAUSES} THEN 'paused' ELSE status END,
        lease_until = CASE WHEN {_PAUSES} THEN NULL ELSE lease_until END,
        lease_node = CASE WHEN {_PAUSES} THEN NULL ELSE lease_node END,
        pause_asked = pause_asked AND NOT ({_PAUSES})
    WHERE id = CAST(:run AS uuid) AND lease_epoch = :epoch AND {RUNNING.format(run="runs")}
"""
END = """
    UPDATE runs SET status = :status, reason = :reason, error = CAST(:error AS jsonb), turn = :turn,
        prompt_tokens = :prompt, completion_tokens = :completion, cost_micros = :cost,
        finished_at = clock_timestamp(), lease_until = NULL
"""
FINISH = f"{END} WHERE id = CAST(:run AS uuid) AND lease_epoch = :epoch AND {RUNNING.format(run='runs')}"
_FINISH = text(FINISH)

# What nobody works on ends at once.
_FINISH_IDLE = text("""
    UPDATE runs SET status = 'cancelled', reason = :reason, finished_at = clock_timestamp(), lease_until = NULL
    WHERE id = CAST(:run AS uuid) AND status IN ('queued', 'waiting', 'paused')
""")

_WAIT = text("""
    UPDATE runs SET
        status = CASE WHEN cancel_reason IS NOT NULL THEN status WHEN pause_asked THEN 'paused' ELSE 'waiting' END,
        lease_until = CASE WHEN cancel_reason IS NULL THEN NULL ELSE lease_until END,
        lease_node = CASE WHEN cancel_reason IS NULL THEN NULL ELSE lease_node END,
        pause_asked = false
    WHERE id = CAST(:run AS uuid) AND lease_epoch = :epoch AND status = 'running'
    RETURNING status, cancel_reason
""")

_OPEN_REQUESTS = "SELECT FROM input_requests q WHERE q.run_id = runs.id AND q.resolved_at IS NULL"

_UNBLOCK = text(f"""
    UPDATE runs SET status = 'running', lease_until = clock_timestamp()
    WHERE id = CAST(:run AS uuid) AND status = 'waiting' AND NOT EXISTS ({_OPEN_REQUESTS})
""")

_PAUSE = text("""
    UPDATE runs SET status = CASE WHEN status = 'running' THEN status ELSE 'paused' END,
        pause_asked = (status = 'running')
    WHERE id = CAST(:run AS uuid) AND status IN ('queued', 'running', 'waiting', 'paused')
    RETURNING status
""")

_RESUME = text(f"""
    UPDATE runs SET pause_asked = false,
        lease_until = CASE WHEN status = 'paused' THEN clock_timestamp() ELSE lease_until END,
        status = CASE WHEN status <> 'paused' THEN status
                      WHEN EXISTS ({_OPEN_REQUESTS}) THEN 'waiting' ELSE 'running' END
    WHERE id = CAST(:run AS uuid) AND status IN ('queued', 'running', 'waiting', 'paused')
    RETURNING status
""")

# The new epoch is nobody's: it shuts out whoever holds a run, in Redis, too.
_END_FROM = text(f"""
    UPDATE runs SET status = 'cancelled', reason = :reason, finished_at = clock_timestamp(), lease_until = NULL,
        lease_epoch = CASE WHEN status = 'queued' THEN lease_epoch ELSE nextval('lease_epochs') END
    WHERE session_id = CAST(:session AS uuid)
      AND (status IN ('running', 'waiting', 'paused') OR (status = 'queued' AND input_seq >= :seq))
    RETURNING {_COLUMNS}, lease_epoch
""")

_ASK_STOP = text("""
    UPDATE runs SET cancel_reason = coalesce(cancel_reason, :reason)
    WHERE id = CAST(:run AS uuid) AND status = 'running'
""")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is written when a run ends. `error` is JSON text or None."""

    status: RunStatus
    reason: str
    error: str | None
    turns: int
    usage: Usage


async def get(db: Db, run: RunId) -> Run | None:
    """The run, or None."""
    row = (await db.execute(_GET, {"run": run})).one_or_none()
    return _run_of(row) if row is not None else None


async def open_runs(db: Db, session: SessionId) -> list[Run]:
    """Runs of the session that have not ended: the live one first, then the queue in order."""
    return [_run_of(row) for row in await db.execute(_OPEN, {"session": session})]


async def finish(db: Db, lease: Lease, end: FinishedRun) -> None:
    """End the run. Raises `LeaseLost` for an old lease or a run that has ended."""
    if (await db.execute(_FINISH, finish_values(lease, end))).rowcount != 1:
        raise LeaseLost


def finish_values(lease: Lease, end: FinishedRun) -> dict[str, Any]:
    """What `END` and `FINISH` need."""
    return {
        "run": lease.run,
        "epoch": lease.epoch,
        "status": end.status.value,
        "reason": end.reason,
        "error": end.error,
        "turn": end.turns,
        "prompt": end.usage.prompt_tokens,
        "completion": end.usage.completion_tokens,
        "cost": end.usage.cost_micros,
    }


async def finish_idle(db: Db, run: RunId, reason: str) -> bool:
    """Cancel a run that nobody works on: it is queued, waits or is paused. False when it is in no such state."""
    return bool((await db.execute(_FINISH_IDLE, {"run": run, "reason": reason})).rowcount)


async def wait(db: Db, lease: Lease) -> tuple[RunStatus, str | None]:
    """Let the run wait for a person, and give the lease back; it is paused instead if that was asked for.

    A run that was asked to stop stays as it is, and the reason is told. Raises `LeaseLost` for an old lease.
    """
    row = (await db.execute(_WAIT, {"run": lease.run, "epoch": lease.epoch})).one_or_none()
    if row is None:
        raise LeaseLost
    return RunStatus(row.status), row.cancel_reason


async def unblock(db: Db, run: RunId) -> bool:
    """Let a waiting run be claimed when nothing it has asked is open any more."""
    return bool((await db.execute(_UNBLOCK, {"run": run})).rowcount)


async def pause(db: Db, run: RunId) -> RunStatus | None:
    """Pause a run, at once or, when it is worked on, after its present turn; its status then. None when it has ended.

    A queued one must be the session's next.
    """
    row = (await db.execute(_PAUSE, {"run": run})).one_or_none()
    return RunStatus(row.status) if row is not None else None


async def resume(db: Db, run: RunId) -> RunStatus | None:
    """Let a paused run go on, or go on waiting; its status then. None when it has ended."""
    row = (await db.execute(_RESUME, {"run": run})).one_or_none()
    return RunStatus(row.status) if row is not None else None


async def end_from(db: Db, session: SessionId, seq: int, reason: str) -> list[tuple[Run, Lease]]:
    """Cancel the live run of the session here and now, and queued ones whose input is at `seq` or after it, the oldest
    input first. Whoever holds a run finds its lease lost: a newer one, which is nobody's, comes with each."""
    rows = await db.execute(_END_FROM, {"session": session, "seq": seq, "reason": reason})
    ended = [(_run_of(row), Lease(RunId(row.id), session, row.lease_epoch)) for row in rows]
    return sorted(ended, key=lambda of: of[0].input_seq)


async def ask_stop(db: Db, run: RunId, reason: str) -> bool:
    """Ask the holder of a run to stop it; the first reason stands. False when nobody works on it."""
    return bool((await db.execute(_ASK_STOP, {"run": run, "reason": reason})).rowcount)


def _run_of(row: Any) -> Run:
    """The run in a row with `_COLUMNS`."""
    finished: datetime | None = row.finished_at
    return Run(
        id=RunId(row.id),
        session=SessionId(row.session_id),
        status=RunStatus(row.status),
        team=row.team,
        attempt=row.attempt,
        input_seq=row.input_seq,
        turns=row.turn,
        usage=Usage(row.prompt_tokens, row.completion_tokens, row.cost_micros),
        created_at=row.created_at,
        finished_at=finished,
    )
