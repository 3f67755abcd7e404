"""Identities: what an OpenID provider calls a user. An issuer and its subject are one user."""

from sqlalchemy import text

from hub.domain.errors import Conflict
from hub.domain.ids import UserId, new_id
from hub.store.database import Db

_LOCK = text("""
    SELECT pg_advisory_xact_lock(hashtextextended('identity ' || CAST(:subject AS text) || ' ' || :issuer, 0))
""")

_USE = text("""
    UPDATE identities SET last_used_at = clock_timestamp() WHERE issuer = :issuer AND subject = :subject
    RETURNING user_id::text
""")

_INSERT = text("""
    INSERT INTO identities (id, issuer, subject, user_id)
    VALUES (CAST(:id AS uuid), :issuer, :subject, CAST(:user AS uuid))
    ON CONFLICT (issuer, subject) DO NOTHING
""")


async def use(db: Db, issuer: str, subject: str) -> UserId | None:
    """Whose identity it is, which is noted as used now; None when it is nobody's, and until the end of this transaction
    nobody else makes it somebody's."""
    values = {"issuer": issuer, "subject": subject}
    await db.execute(_LOCK, values)
    found: str | None = (await db.execute(_USE, values)).scalar_one_or_none()
    return UserId(found) if found is not None else None


async def insert(db: Db, issuer: str, subject: str, user: UserId) -> None:
    """From now on it is this user's. Raises `Conflict` when it is somebody's already."""
    values = {"id": new_id(), "issuer": issuer, "subject": subject, "user": user}
    if not (await db.execute(_INSERT, values)).rowcount:
        raise Conflict("the identity is somebody's already")
