"""What has had its time: rows that nobody needs any more, found and removed in batches that lock nothing for long."""

from collections.abc import Sequence

from sqlalchemy import text

from hub.domain.ids import SessionId
from hub.store.database import Db

BATCH = 1_000
SESSIONS_AT_ONCE = 50

_BEFORE = "clock_timestamp() - make_interval(secs => CAST(:age_s AS double precision))"

_DELETED = text(f"""
    SELECT id::text FROM sessions WHERE deleted_at IS NOT NULL AND deleted_at <= {_BEFORE}
    ORDER BY deleted_at LIMIT {SESSIONS_AT_ONCE}
""")

# By id, for `updated_at` has no index; ids grow with the time at which a session was made.
_PAGE = text(f"""
    SELECT id::text, deleted_at IS NULL AND updated_at <= {_BEFORE} AS is_old, created_at <= {_BEFORE} AS may_be
    FROM sessions WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT {BATCH}
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
    """Some sessions that were deleted so long ago, the longest first."""
    return [SessionId(row.id) for row in await db.execute(_DELETED, {"age_s": age_s})]


async def unused(db: Db, *, age_s: float, after: SessionId | None) -> tuple[list[SessionId], SessionId | None]:
    """Of some sessions after this one those in which nothing has happened for so long, and where to go on (None: there
    are no more)."""
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
