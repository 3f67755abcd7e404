"""Leases: who may work on a run, for how long, and whom to tell to stop.

A run is written by whoever holds its newest lease. Epochs come from one sequence, so they grow with every grant across
runs, workers and restarts. Statements here touch runs only, never their sessions' rows. Time is the database's: worker
clocks never decide who holds a lease.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId
from hub.domain.run import ClaimedRun, Lease, Usage
from hub.store.database import Db

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


def _held(leases: Sequence[Lease]) -> dict[str, Any]:
    return {"runs": [lease.run for lease in leases], "epochs": [lease.epoch for lease in leases]}
