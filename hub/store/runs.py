"""Runs and their leases.

A run is written by whoever holds its newest lease. Epochs come from one sequence, so they grow with every grant across
runs, workers and restarts. Locks are always taken in the order sessions row, runs row; `claim` and `renew` touch runs
only. Time is the database's: worker clocks never decide who holds a lease.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId
from hub.domain.run import ClaimedRun, Lease, Run, RunStatus, Usage
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

# Whether limits were set for whom a run concerns: nobody asks about budgets of all others.
BUDGETED = """EXISTS (SELECT FROM budgets b JOIN sessions s ON s.id = {run}.session_id
                      WHERE b.subject IN ({run}.session_id, {run}.requested_by, s.org_id))"""

# Each part follows the index in its order. Taken as one, PostgreSQL reads all that was queued or ran since it last
# cleaned up, thousands of rows for a claim: only who follows an index tells it of what is gone. The last LIMIT takes
# nothing away: it has PostgreSQL look for the few rows by their ids, also while it does not know how many there are;
# hence no EXISTS either.
_CLAIM = text(f"""
    WITH lost AS (
        SELECT r.id, r.lease_node IS NOT NULL AS cut_off FROM runs r
        WHERE CAST(:lost AS bool) AND r.status = 'running' AND r.lease_until < clock_timestamp()
        ORDER BY r.created_at
        LIMIT :limit
        FOR UPDATE OF r SKIP LOCKED),
    queued AS (
        SELECT r.id, r.lease_node IS NOT NULL AS cut_off FROM runs r
        WHERE r.status = 'queued' AND (
            SELECT true FROM runs o
            WHERE o.session_id = r.session_id AND o.finished_at IS NULL
              AND (o.status <> 'queued' OR o.input_seq < r.input_seq)
            LIMIT 1) IS NULL
        ORDER BY r.created_at
        LIMIT :limit - (SELECT count(*) FROM lost)
        FOR UPDATE OF r SKIP LOCKED),
    candidate AS (SELECT * FROM lost UNION ALL SELECT * FROM queued)
    UPDATE runs r
    SET status = 'running', attempt = r.attempt + 1,
        team_version = CASE
            WHEN r.attempt > 0 THEN r.team_version
            WHEN r.team <> ALL (CAST(:files AS text[])) THEN (SELECT max(version) FROM teams WHERE name = r.team) END,
        lease_epoch = nextval('lease_epochs'), lease_node = :node,
        lease_until = clock_timestamp() + make_interval(secs => :lease_s),
        started_at = coalesce(r.started_at, clock_timestamp())
    FROM (SELECT * FROM candidate LIMIT :limit) AS c WHERE r.id = c.id
    RETURNING r.id::text, r.session_id::text, r.lease_epoch, r.team, r.team_version, r.attempt, r.turn, r.input_seq,
              r.input_message::text, r.to_agent, r.prompt_tokens, r.completion_tokens, r.cost_micros, r.started_at,
              r.cancel_reason, c.cut_off,
              {BUDGETED.format(run="r")} AS budgeted
""")

# SELECT keeps from the planner how many there are: it would plan anew each time.
_HELD = "unnest((SELECT CAST(:runs AS uuid[])), (SELECT CAST(:epochs AS bigint[])))"

_RENEW = text(f"""
    UPDATE runs r SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    FROM {_HELD} AS held(id, epoch)
    WHERE r.id = held.id AND r.lease_epoch = held.epoch AND r.status = 'running'
    RETURNING r.id::text, r.lease_epoch
""")

# By its own index, which is nearly always empty: asked every second, by every worker.
_STOPPING = text("""
    SELECT id::text, session_id::text, lease_epoch, cancel_reason FROM runs
    WHERE status = 'running' AND cancel_reason IS NOT NULL
""")

_STOPS = text(f"""
    SELECT held.id::text, held.epoch, r.cancel_reason, r.id IS NULL AS lost
    FROM {_HELD} AS held(id, epoch)
    LEFT JOIN runs r ON r.id = held.id AND r.lease_epoch = held.epoch AND r.status = 'running'
    WHERE r.cancel_reason IS NOT NULL OR r.id IS NULL
""")

# Who has `lease_node` when a run is claimed was lost in the middle of its work.
_RELEASE = text("""
    UPDATE runs SET lease_until = clock_timestamp(), lease_node = CASE WHEN :clean THEN NULL ELSE lease_node END
    WHERE id = CAST(:run AS uuid) AND lease_epoch = :epoch AND status = 'running'
""")

_ABANDON = text("""
    UPDATE runs SET lease_until = clock_timestamp()
    WHERE status = 'running' AND lease_until > clock_timestamp() AND lease_node = ANY(CAST(:nodes AS text[]))
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


async def claim(
    db: Db, *, node: str, limit: int, lease_s: float, files: Collection[str] = (), lost: bool = True
) -> list[ClaimedRun]:
    """Take up to `limit` runs: the next in the queue of idle sessions, and, with `lost`, those whose lease has run out,
    for which all that are under way are looked at. A fresh one gets the newest version of its team, if that was
    imported and is none of the teams of `files`; it keeps it.

    Raises `Conflict` through the caller's transaction when another worker was faster in the same session.
    """
    values = {"node": node, "limit": limit, "lease_s": lease_s, "files": list(files), "lost": lost}
    rows = await db.execute(_CLAIM, values)
    return [
        ClaimedRun(
            lease=Lease(RunId(row.id), SessionId(row.session_id), row.lease_epoch),
            team=row.team,
            attempt=row.attempt,
            turn=row.turn,
            input_seq=row.input_seq,
            input_message=MessageId(row.input_message),
            to=row.to_agent,
            usage=Usage(row.prompt_tokens, row.completion_tokens, row.cost_micros),
            started_at=row.started_at,
            stop_reason=row.cancel_reason,
            cut_off=row.cut_off,
            budgeted=row.budgeted,
            team_version=row.team_version,
        )
        for row in rows
    ]


async def renew(db: Db, leases: Sequence[Lease], lease_s: float) -> set[Lease]:
    """Extend these leases; those missing from the answer are lost."""
    rows = await db.execute(_RENEW, {**_held(leases), "lease_s": lease_s})
    kept = {(row.id, row.lease_epoch) for row in rows}
    return {lease for lease in leases if (lease.run, lease.epoch) in kept}


async def stopping(db: Db) -> dict[Lease, str]:
    """Runs that somebody works on, whoever it is, and that were asked to stop, with the reason."""
    rows = await db.execute(_STOPPING, {})
    return {Lease(RunId(row.id), SessionId(row.session_id), row.lease_epoch): row.cancel_reason for row in rows}


async def stops(db: Db, leases: Sequence[Lease]) -> dict[Lease, str | None]:
    """Whose runs must not go on: those asked to stop, with the reason, and those whose lease is lost (None)."""
    rows = await db.execute(_STOPS, _held(leases))
    found = {(row.id, row.epoch): None if row.lost else row.cancel_reason for row in rows}
    return {lease: found[lease.run, lease.epoch] for lease in leases if (lease.run, lease.epoch) in found}


async def release(db: Db, lease: Lease, *, clean: bool) -> None:
    """Give the lease back at once, so that another runner need not wait for it to run out. `clean`: everything that
    was shown is recorded."""
    await db.execute(_RELEASE, {"run": lease.run, "epoch": lease.epoch, "clean": clean})


async def abandon(db: Db, nodes: Sequence[str]) -> int:
    """End the leases of workers that are dead, so that nobody need wait for them to run out; how many there were."""
    return (await db.execute(_ABANDON, {"nodes": list(nodes)})).rowcount


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


def _held(leases: Sequence[Lease]) -> dict[str, Any]:
    return {"runs": [lease.run for lease in leases], "epochs": [lease.epoch for lease in leases]}


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
