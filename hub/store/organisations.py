"""Organisations, and who belongs to them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from hub.domain.errors import Conflict
from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.organisation import Organisation, OrgKeep, OrgMember, OrgRole
from hub.store import pages
from hub.store.database import Db
from hub.store.users import name_key

_OWN = "o.id::text, o.name, o.guests, o.keep_sessions_s, o.keep_deleted_s, o.created_at"
_COLUMNS = f"{_OWN}, m.role, coalesce(u.home_org_id = o.id, false) AS home"

_CREATE = text("""
    INSERT INTO organisations (id, name, name_key, guests) VALUES (CAST(:id AS uuid), :name, :key, :guests)
    ON CONFLICT (name_key) DO NOTHING
""")

_GET = text(f"""
    SELECT {_COLUMNS} FROM organisations o
    LEFT JOIN organisation_members m ON m.org_id = o.id AND m.user_id = CAST(:user AS uuid)
    LEFT JOIN users u ON u.id = m.user_id
    WHERE o.id = CAST(:org AS uuid) AND o.erased_at IS NULL
""")

_GET_LOCKED = text(f"{_GET.text} FOR NO KEY UPDATE OF o")

_BY_NAME = text("SELECT id::text FROM organisations WHERE name_key = :key AND erased_at IS NULL")

_OF_USER = text(f"""
    SELECT {_COLUMNS} FROM organisation_members m
    JOIN organisations o ON o.id = m.org_id JOIN users u ON u.id = m.user_id
    WHERE m.user_id = CAST(:user AS uuid) AND o.erased_at IS NULL
    ORDER BY o.name_key
""")

_PAGE = text(f"""
    SELECT {_OWN}, NULL AS role, false AS home FROM organisations o
    WHERE o.erased_at IS NULL AND (CAST(:after AS uuid) IS NULL OR o.id > CAST(:after AS uuid))
    ORDER BY o.id LIMIT :limit
""")

_UPDATE = text("""
    UPDATE organisations SET name = coalesce(:name, name), name_key = coalesce(:key, name_key),
        guests = coalesce(:guests, guests)
    WHERE id = CAST(:org AS uuid)
""")

_KEEP = text("""
    UPDATE organisations SET keep_sessions_s = :sessions_s, keep_deleted_s = :deleted_s WHERE id = CAST(:org AS uuid)
""")

_MEMBERS = text("""
    SELECT m.user_id::text, u.name, m.role FROM organisation_members m JOIN users u ON u.id = m.user_id
    WHERE m.org_id = CAST(:org AS uuid) AND (CAST(:after AS uuid) IS NULL OR m.user_id > CAST(:after AS uuid))
    ORDER BY m.user_id LIMIT :limit
""")

_ROLE = text("""
    SELECT role FROM organisation_members WHERE org_id = CAST(:org AS uuid) AND user_id = CAST(:user AS uuid)
    FOR UPDATE
""")

# Somebody without a home, or with one that they are only a guest of, is at home here from now on.
_PUT = text("""
    WITH put AS (
        INSERT INTO organisation_members (org_id, user_id, role)
        VALUES (CAST(:org AS uuid), CAST(:user AS uuid), :role)
        ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role
        RETURNING org_id, user_id)
    UPDATE users u SET home_org_id = coalesce(u.home_org_id, put.org_id) FROM put WHERE u.id = put.user_id
""")

_OWNERS = text("SELECT count(*) FROM organisation_members WHERE org_id = CAST(:org AS uuid) AND role = 'owner'")

_REMOVE = text("DELETE FROM organisation_members WHERE org_id = CAST(:org AS uuid) AND user_id = CAST(:user AS uuid)")

# After the removal: the home is one that is left, if any.
_MOVE_HOME = text("""
    UPDATE users SET home_org_id = (
        SELECT org_id FROM organisation_members WHERE user_id = users.id AND role <> 'guest'
        ORDER BY created_at, org_id LIMIT 1)
    WHERE id = CAST(:user AS uuid) AND home_org_id = CAST(:org AS uuid)
""")

_SESSIONS = text("""
    SELECT m.session_id::text FROM members m JOIN sessions s ON s.id = m.session_id
    WHERE m.user_id = CAST(:user AS uuid) AND s.org_id = CAST(:org AS uuid)
    LIMIT :limit
""")

# FOR SHARE: nobody takes this person out of the organisation before this transaction ends.
_PRESENT = text("""
    SELECT m.role FROM sessions s
    JOIN organisation_members m ON m.org_id = s.org_id AND m.user_id = CAST(:user AS uuid)
    WHERE s.id = CAST(:session AS uuid)
    FOR SHARE OF m
""")

_ADMIT = text("""
    INSERT INTO organisation_members (org_id, user_id, role)
    SELECT o.id, CAST(:user AS uuid), 'guest' FROM sessions s JOIN organisations o ON o.id = s.org_id AND o.guests
    WHERE s.id = CAST(:session AS uuid)
    ON CONFLICT (org_id, user_id) DO NOTHING
""")

_DISMISS = text("""
    DELETE FROM organisation_members m USING sessions s
    WHERE s.id = CAST(:session AS uuid) AND m.org_id = s.org_id AND m.user_id = CAST(:user AS uuid)
      AND m.role = 'guest' AND NOT EXISTS (
        SELECT FROM members w JOIN sessions o ON o.id = w.session_id AND o.deleted_at IS NULL
        WHERE w.user_id = m.user_id AND o.org_id = m.org_id)
""")


@dataclass(frozen=True, slots=True)
class NewOrganisation:
    """What an organisation begins with."""

    id: OrganisationId
    name: str
    guests: bool = False


async def create(db: Db, new: NewOrganisation) -> None:
    """Add an organisation without people. Raises `Conflict` when the name is taken, whatever its case."""
    values = {"id": new.id, "name": new.name, "key": name_key(new.name), "guests": new.guests}
    if not (await db.execute(_CREATE, values)).rowcount:
        raise Conflict("the name is taken")


async def get(db: Db, org: OrganisationId, user: UserId | None = None, *, lock: bool = False) -> Organisation | None:
    """The organisation as this user sees it: with `role` None when they do not belong to it. None when it is unknown.

    `lock`: until the end of this transaction nobody else changes it, or who belongs to it.
    """
    row = (await db.execute(_GET_LOCKED if lock else _GET, {"org": org, "user": user})).one_or_none()
    return _organisation(row) if row is not None else None


async def by_name(db: Db, name: str) -> OrganisationId | None:
    """The organisation with this name, whatever its case."""
    found: str | None = (await db.execute(_BY_NAME, {"key": name_key(name)})).scalar_one_or_none()
    return OrganisationId(found) if found is not None else None


async def of_user(db: Db, user: UserId) -> list[Organisation]:
    """Where this user belongs, by name."""
    return [_organisation(row) for row in await db.execute(_OF_USER, {"user": user})]


async def page(db: Db, *, limit: int, cursor: str | None = None) -> tuple[list[Organisation], str | None]:
    """All organisations there are, oldest first, as nobody sees them, and the cursor of the next page."""
    after = pages.parse_id_cursor(cursor) if cursor is not None else None
    rows = (await db.execute(_PAGE, {"after": after, "limit": limit + 1})).all()
    return pages.cut([_organisation(row) for row in rows], limit, lambda last: pages.only_id(last.id))


async def update(db: Db, org: OrganisationId, *, name: str | None = None, guests: bool | None = None) -> None:
    """Change what is not None. Leaves the transaction with `Conflict` when the name is taken."""
    key = name_key(name) if name is not None else None
    await db.execute(_UPDATE, {"org": org, "name": name, "key": key, "guests": guests})


async def keep(db: Db, org: OrganisationId, keep: OrgKeep) -> None:
    """How long it keeps its sessions from now on."""
    await db.execute(_KEEP, {"org": org, "sessions_s": keep.sessions_s, "deleted_s": keep.deleted_s})


async def members(
    db: Db, org: OrganisationId, *, limit: int, cursor: str | None = None
) -> tuple[list[OrgMember], str | None]:
    """Who belongs to it, in the order in which their accounts were made, and the cursor of the next page."""
    after = pages.parse_id_cursor(cursor) if cursor is not None else None
    rows = (await db.execute(_MEMBERS, {"org": org, "after": after, "limit": limit + 1})).all()
    found = [OrgMember(UserId(row.user_id), row.name, OrgRole(row.role)) for row in rows]
    return pages.cut(found, limit, lambda last: pages.only_id(last.user))


async def role(db: Db, org: OrganisationId, user: UserId) -> OrgRole | None:
    """What the user is there; nobody else changes it until the end of this transaction. None: does not belong to it."""
    found = (await db.execute(_ROLE, {"org": org, "user": user})).scalar_one_or_none()
    return OrgRole(found) if found is not None else None


async def put(db: Db, org: OrganisationId, user: UserId, role: OrgRole) -> None:
    """Let the user belong to it, or change what they are there. Who has no home is at home here."""
    await db.execute(_PUT, {"org": org, "user": user, "role": role.value})


async def owners(db: Db, org: OrganisationId) -> int:
    """How many owners it has."""
    count: int = (await db.execute(_OWNERS, {"org": org})).scalar_one()
    return count


async def remove(db: Db, org: OrganisationId, user: UserId) -> None:
    """The user does not belong to it any more; their home is elsewhere, if they have another."""
    await db.execute(_REMOVE, {"org": org, "user": user})
    await db.execute(_MOVE_HOME, {"org": org, "user": user})


async def sessions_of(db: Db, org: OrganisationId, user: UserId, *, limit: int) -> list[SessionId]:
    """Some of the organisation's sessions that the user is a member of, also deleted ones."""
    rows = await db.execute(_SESSIONS, {"org": org, "user": user, "limit": limit})
    return [SessionId(row.session_id) for row in rows]


async def admit(db: Db, session: SessionId, user: UserId) -> OrgRole | None:
    """What the user is in the session's organisation, until the end of this transaction; a stranger becomes a guest,
    where guests are welcome. None where they are not."""
    values = {"session": session, "user": user}
    found = (await db.execute(_PRESENT, values)).scalar_one_or_none()
    if found is None:
        await db.execute(_ADMIT, values)
        found = (await db.execute(_PRESENT, values)).scalar_one_or_none()
    return OrgRole(found) if found is not None else None


async def dismiss(db: Db, session: SessionId, user: UserId) -> None:
    """A guest who is in no session of the session's organisation any more does not belong to it either."""
    await db.execute(_DISMISS, {"session": session, "user": user})


def _organisation(row: Any) -> Organisation:
    return Organisation(
        id=OrganisationId(row.id),
        name=row.name,
        guests=row.guests,
        role=OrgRole(row.role) if row.role is not None else None,
        home=row.home,
        created_at=row.created_at,
        keep=OrgKeep(row.keep_sessions_s, row.keep_deleted_s),
    )
