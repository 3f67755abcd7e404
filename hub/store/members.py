"""Who is in a session. Callers lock the session first where the number of owners matters."""

import builtins
from collections.abc import Collection
from typing import Literal

from sqlalchemy import text

from hub.domain.ids import SessionId, UserId
from hub.domain.session import Member, Role
from hub.store.database import Db

# The old role is read in the statement's snapshot, before the INSERT.
_PUT = text("""
    WITH old AS (
        SELECT role FROM members WHERE session_id = CAST(:session AS uuid) AND user_id = CAST(:user AS uuid)),
    put AS (
        INSERT INTO members (session_id, user_id, role) VALUES (CAST(:session AS uuid), CAST(:user AS uuid), :role)
        ON CONFLICT (session_id, user_id) DO UPDATE SET role = excluded.role WHERE members.role <> excluded.role)
    SELECT (SELECT role FROM old) AS role
""")

_REMOVE = text("""
    DELETE FROM members m USING users u
    WHERE m.session_id = CAST(:session AS uuid) AND m.user_id = CAST(:user AS uuid) AND u.id = m.user_id
    RETURNING m.user_id::text, u.name, m.role
""")

_LIST = text("""
    SELECT m.user_id::text, u.name, m.role FROM members m JOIN users u ON u.id = m.user_id
    WHERE m.session_id = CAST(:session AS uuid)
    ORDER BY m.created_at, m.user_id
""")

_OWNERS = text("SELECT count(*) FROM members WHERE session_id = CAST(:session AS uuid) AND role = 'owner'")

_PROMOTE = text("""
    WITH heir AS (
        SELECT m.session_id, m.user_id FROM members m
        JOIN sessions s ON s.id = m.session_id
        JOIN organisation_members o ON o.org_id = s.org_id AND o.user_id = m.user_id AND o.role <> 'guest'
        WHERE m.session_id = CAST(:session AS uuid)
        ORDER BY array_position(ARRAY['owner', 'editor', 'approver', 'viewer'], m.role), m.created_at, m.user_id
        LIMIT 1)
    UPDATE members m SET role = 'owner' FROM heir, users u
    WHERE m.session_id = heir.session_id AND m.user_id = heir.user_id AND u.id = m.user_id
    RETURNING m.user_id::text, u.name
""")

# Workers ask it every two seconds of all that they serve, and nearly always the answer is nobody.
_ENDED = text("""
    SELECT asked.session_id::text AS session, asked.user_id::text AS member
    FROM unnest(CAST(:sessions AS uuid[]), CAST(:users AS uuid[])) AS asked (session_id, user_id)
    LEFT JOIN members m USING (session_id, user_id)
    LEFT JOIN sessions s ON s.id = m.session_id AND s.deleted_at IS NULL
    LEFT JOIN organisations o ON o.id = s.org_id AND o.erased_at IS NULL
    WHERE o.id IS NULL
""")


_HOLDING = text("""
    SELECT m.user_id::text FROM members m JOIN sessions s ON s.id = m.session_id AND s.deleted_at IS NULL
    WHERE m.session_id = CAST(:session AS uuid) AND m.user_id = ANY(CAST(:users AS uuid[]))
      AND m.role = ANY(CAST(:roles AS text[]))
""")


async def put(db: Db, session: SessionId, user: UserId, role: Role) -> Literal["added", "updated", "unchanged"]:
    """Make the user a member with this role, and say what changed. Both must exist."""
    old = (await db.execute(_PUT, {"session": session, "user": user, "role": role.value})).scalar_one()
    if old is None:
        return "added"
    return "unchanged" if old == role.value else "updated"


async def remove(db: Db, session: SessionId, user: UserId) -> Member | None:
    """End the membership, and say what it was; None when there was none."""
    row = (await db.execute(_REMOVE, {"session": session, "user": user})).one_or_none()
    return Member(UserId(row.user_id), row.name, Role(row.role)) if row is not None else None


async def promote(db: Db, session: SessionId) -> Member | None:
    """Make the member with the highest role, of these the one who came first, an owner; None when there is nobody, or
    only guests of the organisation."""
    row = (await db.execute(_PROMOTE, {"session": session})).one_or_none()
    return Member(UserId(row.user_id), row.name, Role.OWNER) if row is not None else None


async def list(db: Db, session: SessionId) -> builtins.list[Member]:
    """The members, in the order they came."""
    rows = await db.execute(_LIST, {"session": session})
    return [Member(UserId(row.user_id), row.name, Role(row.role)) for row in rows]


async def owners(db: Db, session: SessionId) -> int:
    """How many owners the session has."""
    count: int = (await db.execute(_OWNERS, {"session": session})).scalar_one()
    return count


async def holding(
    db: Db, session: SessionId, users: Collection[UserId], roles: Collection[Role]
) -> builtins.set[UserId]:
    """Those of these users who have one of these roles in a session not deleted."""
    values = {"session": session, "users": [*users], "roles": [role.value for role in roles]}
    return {UserId(row.user_id) for row in await db.execute(_HOLDING, values)}


async def ended(db: Db, pairs: Collection[tuple[SessionId, UserId]]) -> set[tuple[SessionId, UserId]]:
    """Those of these pairs that are no memberships of sessions not deleted."""
    rows = await db.execute(_ENDED, {"sessions": [s for s, _ in pairs], "users": [u for _, u in pairs]})
    return {(SessionId(row.session), UserId(row.member)) for row in rows}
