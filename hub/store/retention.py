"""What has had its time: rows that nobody needs any more, found and removed in batches that lock nothing for long."""

from collections.abc import Sequence

from sqlalchemy import text

from hub.domain.ids import SessionId
from hub.store.database import Db

BATCH = 1_000
SESSIONS_AT_ONCE = 50

# Of the hub's own time (None: for ever) and that of the organisation the shorter one holds.
_KEPT = "clock_timestamp() - make_interval(secs => least(CAST(:age_s AS double precision), o.{own}))"
_SHORTEST = """clock_timestamp() - make_interval(secs => least(
    CAST(:age_s AS double precision), (SELECT min({own}) FROM organisations)))"""
_BEFORE = "clock_timestamp() - make_interval(secs => CAST(:age_s AS double precision))"

_DELETED = text(f"""
    SELECT s.id::text FROM sessions s JOIN organisations o ON o.id = s.org_id
    WHERE s.deleted_at IS NOT NULL AND s.deleted_at <= {_SHORTEST.format(own="keep_deleted_s")}
      AND s.deleted_at <= {_KEPT.format(own="keep_deleted_s")}
    ORDER BY s.deleted_at LIMIT {SESSIONS_AT_ONCE}
""")

# By id, for `updated_at` has no index; ids grow with the time at which a session was made.
_PAGE = text(f"""
    SELECT s.id::text,
           s.deleted_at IS NULL AND coalesce(s.updated_at <= {_KEPT.format(own="keep_sessions_s")}, false) AS is_old,
           s.created_at <= {_SHORTEST.format(own="keep_sessions_s")} AS may_be
    FROM sessions s JOIN organisations o ON o.id = s.org_id
    WHERE s.id > CAST(:after AS uuid) AND (CAST(:age_s AS double precision) IS NOT NULL
        OR (SELECT true FROM organisations WHERE keep_sessions_s IS NOT NULL LIMIT 1))
    ORDER BY s.id LIMIT {BATCH}
""")


def _batches(table: str, condition: str) -> str:
    return f"""DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {condition} LIMIT {BATCH} FOR UPDATE SKIP LOCKED))"""


# A token that has run out still tells, for a day, that its family was revoked: no access token lives longer.
_EXPIRED = tuple(
    text(_batches(table, condition))
    for table, condition in (
        ("refresh_tokens", "expires_at <= clock_timestamp() - interval '1 day'"),
        ("invites", "expires_at <= clock_timestamp()"),
        ("api_keys", "least(expires_at, revoked_at) <= clock_timestamp() - interval '30 days'"),
    )
)

# What was uploaded and never sent, and what never came to its end.
_UNSENT = text("""
    WITH gone AS (
        DELETE FROM attachments WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM attachments
            WHERE sent_at IS NULL AND created_at <= clock_timestamp() - CASE WHEN sha256 IS NULL
                THEN interval '1 hour' ELSE interval '1 day' END
            LIMIT 20 FOR UPDATE SKIP LOCKED))
        RETURNING session_id, id),
    content AS (
        DELETE FROM attachment_pieces p USING gone WHERE p.session_id = gone.session_id AND p.attachment_id = gone.id)
    SELECT FROM gone
""")

_ADDRESSES = text(f"""
    UPDATE audit SET address = NULL WHERE id = ANY(ARRAY(
        SELECT id FROM audit WHERE address IS NOT NULL AND at <= {_BEFORE} LIMIT {BATCH} FOR UPDATE SKIP LOCKED))
""")


async def deleted(db: Db, *, age_s: float) -> list[SessionId]:
    """Some sessions that were deleted so long ago, or so long as their organisation keeps such, the longest first."""
    return [SessionId(row.id) for row in await db.execute(_DELETED, {"age_s": age_s})]


async def unused(db: Db, *, age_s: float | None, after: SessionId | None) -> tuple[list[SessionId], SessionId | None]:
    """Of some sessions after this one those in which nothing has happened for so long, or so long as their organisation
    keeps such, and where to go on (None: there are no more)."""
    first = after or SessionId("00000000-0000-0000-0000-000000000000")
    rows = (await db.execute(_PAGE, {"age_s": age_s, "after": first})).all()
    more = len(rows) == BATCH and rows[-1].may_be
    return [SessionId(row.id) for row in rows if row.is_old], SessionId(rows[-1].id) if more else None


async def expire(db: Db) -> int:
    """Remove some tokens, links, keys and attachments that have been good for nothing for a while; how many."""
    counts: Sequence[int] = [(await db.execute(statement)).rowcount for statement in (*_EXPIRED, _UNSENT)]
    return sum(counts)


async def forget_addresses(db: Db, *, age_s: float) -> int:
    """Take the addresses out of some entries of the audit trail that are so old; how many."""
    return (await db.execute(_ADDRESSES, {"age_s": age_s})).rowcount
