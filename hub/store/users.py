"""Users: who may sign in, and which of their credentials still count."""

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.errors import Conflict, NotFound
from hub.domain.ids import OrganisationId, UserId, parse_id
from hub.domain.organisation import FIRST_ORGANISATION
from hub.store import pages
from hub.store.database import Db

_COLUMNS = "id::text, name, password_hash, is_admin, auth_version, disabled_at, created_at, home_org_id::text"

_CREATE = text("""
    WITH made AS (
        INSERT INTO users (id, name, name_key, password_hash, is_admin, home_org_id)
        VALUES (CAST(:id AS uuid), :name, :key, :password_hash, :is_admin, CAST(:org AS uuid))
        ON CONFLICT (name_key) DO NOTHING RETURNING id, home_org_id)
    INSERT INTO organisation_members (org_id, user_id, role) SELECT home_org_id, id, 'member' FROM made
    RETURNING user_id
""")

_BY_ID = text(f"SELECT {_COLUMNS} FROM users WHERE id = CAST(:id AS uuid)")
# With the users, in one statement, whether the sign-ins that their tokens descend from have ended.
_BY_TOKENS = text(f"""
    SELECT place, {_COLUMNS}, EXISTS (
        SELECT FROM refresh_tokens WHERE family = asked.descent AND revoked_at IS NOT NULL) AS grant_ended
    FROM unnest(CAST(:users AS uuid[]), CAST(:grants AS uuid[])) WITH ORDINALITY AS asked (shown, descent, place)
    JOIN users ON id = asked.shown
""")
_BY_NAME = text(f"SELECT {_COLUMNS} FROM users WHERE name_key = :key")

_BUMP = text("""
    UPDATE users SET auth_version = auth_version + 1 WHERE id = CAST(:id AS uuid) RETURNING auth_version
""")

_BY_ID_LOCKED = text(f"{_BY_ID.text} FOR SHARE")

_SET_PASSWORD = text("UPDATE users SET password_hash = :password_hash WHERE id = CAST(:id AS uuid)")

_SET_ADMIN = text("UPDATE users SET is_admin = :is_admin WHERE id = CAST(:id AS uuid)")

_SET_SUSPENDED = text("""
    UPDATE users
    SET disabled_at = CASE WHEN CAST(:suspended AS boolean) THEN coalesce(disabled_at, clock_timestamp()) END
    WHERE id = CAST(:id AS uuid)
""")

_PAGE = text(f"""
    SELECT {_COLUMNS} FROM users
    WHERE CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT :limit
""")

_AUTH_VERSIONS = text("""
    SELECT id::text, auth_version FROM users WHERE id = ANY(CAST(:ids AS uuid[])) AND disabled_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user. `password_hash` is None for one who cannot sign in with a password."""

    id: UserId
    name: str
    password_hash: str | None
    is_admin: bool
    auth_version: int
    disabled_at: datetime | None
    created_at: datetime
    home: OrganisationId | None


def name_key(name: str) -> str:
    """What two names that count as the same have in common."""
    # Casefolding may undo the normalisation.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


async def create(
    db: Db,
    *,
    id: UserId,
    name: str,
    password_hash: str | None,
    is_admin: bool,
    org: OrganisationId = FIRST_ORGANISATION,
) -> None:
    """Add a user, who is at home in `org`. Raises `Conflict` when the name is taken, whatever its case."""
    values = {
        "id": id,
        "name": name,
        "key": name_key(name),
        "password_hash": password_hash,
        "is_admin": is_admin,
        "org": org,
    }
    if not (await db.execute(_CREATE, values)).rowcount:
        raise Conflict("the name is taken")


async def by_id(db: Db, user: UserId, *, lock: bool = False) -> StoredUser | None:
    """The user with this id, or None. `lock`: until the end of this transaction nobody changes what they may do."""
    return _user((await db.execute(_BY_ID_LOCKED if lock else _BY_ID, {"id": user})).one_or_none())


async def by_tokens(db: Db, shown: Sequence[tuple[UserId, str | None]]) -> list[tuple[StoredUser, bool] | None]:
    """For each of these users and grants: the user, and whether the sign-in `grant` has ended; None for nobody."""
    asked = {"users": [user for user, _ in shown], "grants": [grant for _, grant in shown]}
    found: list[tuple[StoredUser, bool] | None] = [None] * len(shown)
    for row in await db.execute(_BY_TOKENS, asked):
        if (user := _user(row)) is not None:
            found[row.place - 1] = user, row.grant_ended
    return found


async def by_name(db: Db, name: str) -> StoredUser | None:
    """The user with this name, whatever its case, or None."""
    key = name_key(name)
    if not _storable(key):
        return None
    return _user((await db.execute(_BY_NAME, {"key": key})).one_or_none())


async def called(db: Db, user: str) -> StoredUser | None:
    """The user with this id or name, if there is one: nothing that a stranger may learn."""
    id_ = parse_id(user)
    return await by_id(db, UserId(id_)) if id_ is not None else await by_name(db, user)


async def find(db: Db, user: str) -> StoredUser:
    """The user with this id or name. Raises `NotFound`."""
    found = await called(db, user)
    if found is None:
        raise NotFound("no such user")
    return found


async def bump_auth_version(db: Db, user: UserId) -> int | None:
    """Revoke every credential the user has shown so far; the new version, or None when there is no such user."""
    version: int | None = (await db.execute(_BUMP, {"id": user})).scalar_one_or_none()
    return version


async def set_password(db: Db, user: UserId, password_hash: str) -> None:
    """From now on this is the password's hash."""
    await db.execute(_SET_PASSWORD, {"id": user, "password_hash": password_hash})


async def set_admin(db: Db, user: UserId, *, is_admin: bool) -> None:
    """Whether the user administers the hub from now on."""
    await db.execute(_SET_ADMIN, {"id": user, "is_admin": is_admin})


async def set_suspended(db: Db, user: UserId, *, suspended: bool) -> None:
    """Whether the user is suspended from now on: nothing they show is believed then."""
    await db.execute(_SET_SUSPENDED, {"id": user, "suspended": suspended})


async def page(db: Db, *, limit: int, cursor: str | None = None) -> tuple[list[StoredUser], str | None]:
    """All users, newest first, and the cursor of the next page. Raises `BadRequest` for a cursor of another making."""
    before = pages.parse_id_cursor(cursor) if cursor is not None else None
    rows = (await db.execute(_PAGE, {"before": before, "limit": limit + 1})).all()
    return pages.cut([found for row in rows if (found := _user(row))], limit, lambda last: pages.only_id(last.id))


async def auth_versions(db: Db, users: Collection[UserId]) -> dict[UserId, int]:
    """The present version of each of these users; those unknown or disabled are missing."""
    rows = await db.execute(_AUTH_VERSIONS, {"ids": list(users)})
    return {UserId(row.id): row.auth_version for row in rows}


def _storable(text_: str) -> bool:
    """Whether PostgreSQL could hold it: nobody is called what it cannot."""
    return "\x00" not in text_ and not any("\ud800" <= c <= "\udfff" for c in text_)


def _user(row: Any) -> StoredUser | None:
    if row is None:
        return None
    return StoredUser(
        id=UserId(row.id),
        name=row.name,
        password_hash=row.password_hash,
        is_admin=row.is_admin,
        auth_version=row.auth_version,
        disabled_at=row.disabled_at,
        created_at=row.created_at,
        home=OrganisationId(row.home_org_id) if row.home_org_id is not None else None,
    )
