"""API keys: only the hash of their secret is here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import OrganisationId, UserId
from hub.store import pages
from hub.store.database import Db

_COLUMNS = """
    k.id::text, k.user_id::text, k.name, k.secret_hash, k.scopes, k.expires_at, k.revoked_at, k.last_used_at,
    k.created_at
"""

_CREATE = text("""
    INSERT INTO api_keys (id, user_id, name, secret_hash, scopes, expires_at)
    VALUES (CAST(:id AS uuid), CAST(:user AS uuid), :name, :secret_hash, :scopes, :expires_at)
""")

_BY_ID = text(f"SELECT {_COLUMNS} FROM api_keys k WHERE k.id = CAST(:id AS uuid)")

_SHOWN = text(f"""
    SELECT {_COLUMNS}, u.name AS owner, u.is_admin, u.auth_version, u.disabled_at, u.home_org_id::text AS home
    FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = CAST(:id AS uuid)
""")

_PAGE = text(f"""
    SELECT {_COLUMNS} FROM api_keys k
    WHERE k.user_id = CAST(:user AS uuid) AND k.revoked_at IS NULL
      AND (CAST(:before AS uuid) IS NULL OR k.id < CAST(:before AS uuid))
    ORDER BY k.id DESC LIMIT :limit
""")

_REVOKE = text("""
    UPDATE api_keys SET revoked_at = clock_timestamp()
    WHERE id = CAST(:id AS uuid) AND user_id = CAST(:user AS uuid) AND revoked_at IS NULL
""")

_REVOKE_ALL = text("""
    UPDATE api_keys SET revoked_at = clock_timestamp() WHERE user_id = CAST(:user AS uuid) AND revoked_at IS NULL
""")

_VALID = text("SELECT id::text FROM api_keys WHERE id = ANY(CAST(:ids AS uuid[])) AND revoked_at IS NULL")

_TOUCH = text("UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = CAST(:id AS uuid)")


@dataclass(frozen=True, slots=True)
class StoredApiKey:
    """A key. `expires_at` None: it does not end by itself."""

    id: str
    user: UserId
    name: str
    secret_hash: bytes
    scopes: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """What whoever shows a key is, as `StoredUser` has it."""

    id: UserId
    name: str
    is_admin: bool
    auth_version: int
    disabled_at: datetime | None
    home: OrganisationId | None


async def create(
    db: Db,
    *,
    id: str,
    user: UserId,
    name: str,
    secret_hash: bytes,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> None:
    """Add a key of this user."""
    await db.execute(
        _CREATE,
        {
            "id": id,
            "user": user,
            "name": name,
            "secret_hash": secret_hash,
            "scopes": list(scopes),
            "expires_at": expires_at,
        },
    )


async def by_id(db: Db, key: str) -> StoredApiKey | None:
    """The key, also when it is revoked or expired; None when there is none."""
    row = (await db.execute(_BY_ID, {"id": key})).one_or_none()
    return _key(row) if row is not None else None


async def shown(db: Db, key: str) -> tuple[StoredApiKey, KeyOwner] | None:
    """The key as `by_id` gives it, and whose it is."""
    row = (await db.execute(_SHOWN, {"id": key})).one_or_none()
    if row is None:
        return None
    home = OrganisationId(row.home) if row.home is not None else None
    owner = KeyOwner(UserId(row.user_id), row.owner, row.is_admin, row.auth_version, row.disabled_at, home)
    return _key(row), owner


async def page(db: Db, user: UserId, *, limit: int, cursor: str | None = None) -> tuple[list[StoredApiKey], str | None]:
    """The user's keys that are not revoked, newest first, and the cursor of the next page (None: no more).

    Raises `BadRequest` for a cursor that this function did not give.
    """
    before = pages.parse_id_cursor(cursor) if cursor is not None else None
    rows = (await db.execute(_PAGE, {"user": user, "before": before, "limit": limit + 1})).all()
    return pages.cut([_key(row) for row in rows], limit, lambda last: pages.only_id(last.id))


async def revoke(db: Db, user: UserId, key: str) -> bool:
    """Revoke a key of this user. False when they have no such key that is still valid."""
    return bool((await db.execute(_REVOKE, {"user": user, "id": key})).rowcount)


async def revoke_all(db: Db, user: UserId) -> None:
    """Revoke every key of this user."""
    await db.execute(_REVOKE_ALL, {"user": user})


async def revoked(db: Db, keys: Collection[str]) -> set[str]:
    """Which of these keys are revoked, or gone."""
    rows = await db.execute(_VALID, {"ids": list(keys)})
    return set(keys) - {row.id for row in rows}


async def touch_last_used(db: Db, key: str) -> None:
    """Note that the key was used now."""
    await db.execute(_TOUCH, {"id": key})


def _key(row: Any) -> StoredApiKey:
    return StoredApiKey(
        id=row.id,
        user=UserId(row.user_id),
        name=row.name,
        secret_hash=row.secret_hash,
        scopes=tuple(row.scopes),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )
