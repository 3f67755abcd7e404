"""Taking an organisation away with all it has: its sessions, its teams, what it used, who belonged to it.

What is left is a tombstone, the row of the organisation with nothing in it, to which the ids in the audit trail still
lead. People keep their accounts, which belong to no organisation. Everything here may be done again, and goes in pieces
that keep no lock for long.
"""

from sqlalchemy import text

from hub.domain.ids import OrganisationId, SessionId
from hub.store.database import Db
from hub.store.erasing import ERASED, ROWS_AT_ONCE

SESSIONS_AT_ONCE = 200

# `name_key` is unique: the row is locked against whoever refers to it anew, so nobody joins meanwhile.
_BURY = text(f"""
    UPDATE organisations SET name = '{ERASED}', name_key = '{ERASED}:' || id, guests = false, keep_sessions_s = NULL,
        keep_deleted_s = NULL, erased_at = clock_timestamp()
    WHERE id = CAST(:org AS uuid) AND erased_at IS NULL
""")

# Whoever was at home here is so in another one that they are no guest of, if there is any.
_LEAVE = text("""
    WITH gone AS (DELETE FROM organisation_members WHERE org_id = CAST(:org AS uuid) RETURNING user_id)
    UPDATE users u SET home_org_id = (
        SELECT m.org_id FROM organisation_members m
        WHERE m.user_id = u.id AND m.org_id <> CAST(:org AS uuid) AND m.role <> 'guest'
        ORDER BY m.created_at, m.org_id LIMIT 1)
    FROM gone WHERE u.id = gone.user_id AND u.home_org_id = CAST(:org AS uuid)
""")

_PENDING = text("""
    SELECT id::text FROM organisations
    WHERE erased_at <= clock_timestamp() - make_interval(secs => :age_s) AND erasure_ended_at IS NULL
    ORDER BY erased_at LIMIT 20
""")

_OPEN = text(f"""
    SELECT id::text FROM sessions WHERE org_id = CAST(:org AS uuid) AND deleted_at IS NULL
    ORDER BY updated_at DESC LIMIT {SESSIONS_AT_ONCE}
""")

_DELETED = text(f"""
    SELECT id::text FROM sessions WHERE org_id = CAST(:org AS uuid) AND deleted_at IS NOT NULL LIMIT {SESSIONS_AT_ONCE}
""")

_REST = tuple(
    text(f"""DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {column} = CAST(:org AS uuid) LIMIT {ROWS_AT_ONCE}))""")
    for table, column in (("usage", "org_id"), ("budgets", "subject"), ("teams", "org_id"))
)

# Who came in at the very last moment may have opened something.
_END = text("""
    UPDATE organisations o SET erasure_ended_at = clock_timestamp()
    WHERE id = CAST(:org AS uuid) AND erasure_ended_at IS NULL
      AND NOT EXISTS (SELECT FROM sessions s WHERE s.org_id = o.id)
      AND NOT EXISTS (SELECT FROM organisation_members m WHERE m.org_id = o.id)
""")


async def bury(db: Db, org: OrganisationId) -> bool:
    """Nobody belongs to it any more, nobody finds it, and its name is free. False when it was so already, or there is
    no such organisation."""
    buried = (await db.execute(_BURY, {"org": org})).rowcount
    if buried:
        await leave(db, org)
    return bool(buried)


async def leave(db: Db, org: OrganisationId) -> None:
    """Take everybody out who belongs to it."""
    await db.execute(_LEAVE, {"org": org})


async def pending(db: Db, *, age_s: float) -> list[OrganisationId]:
    """Organisations that were buried so many seconds ago and of which something may be left, the oldest first."""
    return [OrganisationId(row.id) for row in await db.execute(_PENDING, {"age_s": age_s})]


async def sessions(db: Db, org: OrganisationId, *, deleted: bool) -> list[SessionId]:
    """Some of its sessions that were deleted, or that were not: of these the last used first."""
    return [SessionId(row.id) for row in await db.execute(_DELETED if deleted else _OPEN, {"org": org})]


async def empty_rest(db: Db, org: OrganisationId) -> bool:
    """Take away some of what is in no session; whether there may be more."""
    return any([(await db.execute(statement, {"org": org})).rowcount for statement in _REST])


async def end(db: Db, org: OrganisationId) -> bool:
    """Nothing is left but the tombstone. False when that was known already, or something is left after all."""
    return bool((await db.execute(_END, {"org": org})).rowcount)
