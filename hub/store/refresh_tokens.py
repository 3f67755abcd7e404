"""Refresh tokens: each works once. Those that were rotated out of each other are a family, and end together."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from hub.domain.ids import UserId
from hub.store.database import Db

_INSERT = text("""
    INSERT INTO refresh_tokens (id, user_id, family, token_hash, expires_at)
    VALUES (CAST(:id AS uuid), CAST(:user AS uuid), CAST(:family AS uuid), :token_hash, :expires_at)
""")

# Revoked is who has a revoked relative: one that was rotated in while the family was being revoked is caught, too.
_BY_HASH = text("""
    SELECT t.id::text, t.user_id::text, t.family::text, t.expires_at, t.used_at,
           (SELECT max(f.revoked_at) FROM refresh_tokens f WHERE f.family = t.family) AS revoked_at
    FROM refresh_tokens t WHERE t.token_hash = :token_hash
""")

_BY_HASH_LOCKED = text(f"{_BY_HASH.text} FOR UPDATE OF t")

_MARK_USED = text("""
    UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE id = CAST(:id AS uuid) AND used_at IS NULL
""")

_REVOKE_FAMILY = text("""
    UPDATE refresh_tokens SET revoked_at = clock_timestamp()
    WHERE family = CAST(:family AS uuid) AND revoked_at IS NULL
""")

_REVOKE_USER = text("""
    UPDATE refresh_tokens SET revoked_at = clock_timestamp() WHERE user_id = CAST(:user AS uuid) AND revoked_at IS NULL
""")

_REVOKE_SIGN_IN = text("""
    UPDATE refresh_tokens SET revoked_at = clock_timestamp()
    WHERE family = CAST(:family AS uuid) AND user_id = CAST(:user AS uuid) AND revoked_at IS NULL
      AND expires_at > clock_timestamp()
""")

_SIGN_INS = text("""
    SELECT family::text, min(created_at) AS created_at, max(created_at) AS used_at, max(expires_at) AS expires_at
    FROM refresh_tokens WHERE user_id = CAST(:user AS uuid)
    GROUP BY family
    HAVING max(revoked_at) IS NULL AND max(expires_at) > clock_timestamp()
    ORDER BY max(created_at) DESC, family LIMIT 200
""")

_REVOKED_FAMILIES = text("""
    SELECT DISTINCT family::text FROM refresh_tokens
    WHERE family = ANY(CAST(:families AS uuid[])) AND revoked_at IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class StoredRefreshToken:
    """A token. `used_at` is when it was first used; `revoked_at` when its family was last revoked."""

    id: str
    user: UserId
    family: str
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignIn:
    """A family of refresh tokens: one sign-in. `used_at` is when it last got new tokens."""

    id: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


async def insert(
    db: Db,
    *,
    id: str,
    user: UserId,
    family: str,
    token_hash: bytes,
    expires_at: datetime,
) -> None:
    """Add a token, the first of its family or a further one."""
    await db.execute(
        _INSERT, {"id": id, "user": user, "family": family, "token_hash": token_hash, "expires_at": expires_at}
    )


async def by_hash(db: Db, token_hash: bytes, *, lock: bool = False) -> StoredRefreshToken | None:
    """The token with this hash, or None. `lock`: others wait for the end of this transaction before they see it."""
    row = (await db.execute(_BY_HASH_LOCKED if lock else _BY_HASH, {"token_hash": token_hash})).one_or_none()
    if row is None:
        return None
    return StoredRefreshToken(row.id, UserId(row.user_id), row.family, row.expires_at, row.used_at, row.revoked_at)


async def mark_used(db: Db, token: str) -> None:
    """Note that the token was used now; the first use counts."""
    await db.execute(_MARK_USED, {"id": token})


async def revoke_family(db: Db, family: str) -> None:
    """End a sign-in: all its tokens."""
    await db.execute(_REVOKE_FAMILY, {"family": family})


async def revoke_sign_in(db: Db, user: UserId, family: str) -> bool:
    """End a sign-in of this user. False when they have no such sign-in that lasts."""
    return bool((await db.execute(_REVOKE_SIGN_IN, {"user": user, "family": family})).rowcount)


async def sign_ins(db: Db, user: UserId) -> list[SignIn]:
    """The user's sign-ins that last, at most 200, the last used one first."""
    rows = await db.execute(_SIGN_INS, {"user": user})
    return [SignIn(row.family, row.created_at, row.used_at, row.expires_at) for row in rows]


async def revoke_user(db: Db, user: UserId) -> None:
    """End every sign-in of the user."""
    await db.execute(_REVOKE_USER, {"user": user})


async def revoked_families(db: Db, families: Collection[str]) -> set[str]:
    """Which of these families are revoked."""
    rows = await db.execute(_REVOKED_FAMILIES, {"families": list(families)})
    return {row.family for row in rows}
