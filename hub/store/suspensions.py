"""Runs of suspended people: what is open and not asked to stop yet."""

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId, UserId
from hub.store.database import Db

_OPEN = """
    r.status IN ('queued', 'running', 'waiting', 'paused')
    AND NOT (r.status = 'running' AND r.cancel_reason IS NOT NULL)
"""

# Erasing has its own way with runs. A deleted session has none that anybody would see.
_SUSPENDED = "u.disabled_at IS NOT NULL AND u.erased_at IS NULL"

_RUNS = text(f"""
    SELECT r.session_id::text, r.id::text FROM runs r
    JOIN users u ON u.id = r.requested_by AND {_SUSPENDED}
    JOIN sessions s ON s.id = r.session_id AND s.deleted_at IS NULL
    WHERE r.requested_by = CAST(:user AS uuid) AND {_OPEN}
    ORDER BY r.created_at LIMIT 200
""")

_PENDING = text(f"""
    SELECT DISTINCT u.id::text FROM runs r
    JOIN users u ON u.id = r.requested_by AND {_SUSPENDED}
        AND u.disabled_at <= clock_timestamp() - make_interval(secs => :age_s)
    JOIN sessions s ON s.id = r.session_id AND s.deleted_at IS NULL
    WHERE {_OPEN} LIMIT 20
""")


async def runs(db: Db, user: UserId) -> list[tuple[SessionId, RunId]]:
    """Up to 200 of their runs, the oldest first; none of who is not suspended."""
    return [(SessionId(row.session_id), RunId(row.id)) for row in await db.execute(_RUNS, {"user": user})]


async def pending(db: Db, *, age_s: float) -> list[UserId]:
    """Some of those who were suspended so many seconds ago and have such runs."""
    return [UserId(row.id) for row in await db.execute(_PENDING, {"age_s": age_s})]
