"""Invites: links into a session, of which only the hash of the secret is here. Callers lock the session first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.session import Role
from hub.store import pages
from hub.store.database import Db

_COLUMNS = """
    i.id::text, i.session_id::text, i.role, i.max_uses, i.uses, i.created_by::text, i.created_at, i.expires_at,
    s.org_id::text
"""
# Of invites that let somebody in: not ended, and whoever made it could still put members into the session.
_HOLDS = """
    invites i
    JOIN members m ON m.session_id = i.session_id AND m.user_id = i.created_by AND m.role = 'owner'
    JOIN users u ON u.id = i.created_by AND u.disabled_at IS NULL
    JOIN sessions s ON s.id = i.session_id AND s.deleted_at IS NULL
"""

_CREATE = text("""
    INSERT INTO invites (id, session_id, secret_hash, role, max_uses, created_by, expires_at)
    VALUES (CAST(:id AS uuid), CAST(:session AS uuid), :secret_hash, :role, :max_uses, CAST(:by AS uuid), :expires_at)
    RETURNING created_at
""")

_SWEEP = text("DELETE FROM invites WHERE session_id = CAST(:session AS uuid) AND expires_at <= clock_timestamp()")

_COUNT = text("SELECT count(*) FROM invites WHERE session_id = CAST(:session AS uuid)")

_PAGE = text(f"""
    SELECT {_COLUMNS} FROM {_HOLDS}
    WHERE i.session_id = CAST(:session AS uuid) AND i.expires_at > clock_timestamp() AND i.uses < i.max_uses
      AND (CAST(:before AS uuid) IS NULL OR i.id < CAST(:before AS uuid))
    ORDER BY i.id DESC LIMIT :limit
""")

_BY_HASH = text(f"""
    SELECT {_COLUMNS} FROM {_HOLDS} WHERE i.secret_hash = :secret_hash AND i.expires_at > clock_timestamp()
""")

_USE = text("UPDATE invites SET uses = uses + 1 WHERE id = CAST(:id AS uuid)")

_REMOVE = text("DELETE FROM invites WHERE session_id = CAST(:session AS uuid) AND id = CAST(:id AS uuid)")

_REMOVE_ALL = text("DELETE FROM invites WHERE session_id = CAST(:session AS uuid)")


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite that has not ended; it is used up when `uses` has reached `max_uses`."""

    id: str
    session: SessionId
    organisation: OrganisationId
    role: Role
    max_uses: int
    uses: int
    created_by: UserId
    created_at: datetime
    expires_at: datetime


async def create(
    db: Db,
    *,
    id: str,
    session: SessionId,
    organisation: OrganisationId,
    secret_hash: bytes,
    role: Role,
    max_uses: int,
    created_by: UserId,
    expires_at: datetime,
) -> Invite:
    """Add an invite; those of the session whose time is over are gone then."""
    await db.execute(_SWEEP, {"session": session})
    values = {
        "id": id,
        "session": session,
        "secret_hash": secret_hash,
        "role": role.value,
        "max_uses": max_uses,
        "by": created_by,
        "expires_at": expires_at,
    }
    created_at: datetime = (await db.execute(_CREATE, values)).scalar_one()
    return Invite(id, session, organisation, role, max_uses, 0, created_by, created_at, expires_at)


async def count(db: Db, session: SessionId) -> int:
    """How many invites the session has, also those that let nobody in any more."""
    found: int = (await db.execute(_COUNT, {"session": session})).scalar_one()
    return found


async def page(db: Db, session: SessionId, *, limit: int, cursor: str | None = None) -> tuple[list[Invite], str | None]:
    """Invites that let somebody in, newest first, and the cursor of the next page (None: no more).

    Raises `BadRequest` for a cursor that this function did not give.
    """
    before = pages.parse_id_cursor(cursor) if cursor is not None else None
    rows = (await db.execute(_PAGE, {"session": session, "before": before, "limit": limit + 1})).all()
    return pages.cut([_invite(row) for row in rows], limit, lambda last: pages.only_id(last.id))


async def by_hash(db: Db, secret_hash: bytes) -> Invite | None:
    """The invite with this secret, also when it is used up; None when there is none, or none any more."""
    row = (await db.execute(_BY_HASH, {"secret_hash": secret_hash})).one_or_none()
    return _invite(row) if row is not None else None


async def use(db: Db, invite: str) -> None:
    """Count one use."""
    await db.execute(_USE, {"id": invite})


async def remove(db: Db, session: SessionId, invite: str) -> bool:
    """End an invite of the session. False when it has none such."""
    return bool((await db.execute(_REMOVE, {"session": session, "id": invite})).rowcount)


async def remove_all(db: Db, session: SessionId) -> None:
    """End every invite of the session."""
    await db.execute(_REMOVE_ALL, {"session": session})


def _invite(row: Any) -> Invite:
    return Invite(
        id=row.id,
        session=SessionId(row.session_id),
        organisation=OrganisationId(row.org_id),
        role=Role(row.role),
        max_uses=row.max_uses,
        uses=row.uses,
        created_by=UserId(row.created_by),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
