"""How many there are of what one may have only so many of.

Whoever locks before counting counts exactly: others who lock the same wait until this transaction has ended, and see
what it has added."""

from typing import Literal

from sqlalchemy import text

from hub.domain.ids import OrganisationId, UserId
from hub.store.database import Db

NEAR = 64  # from so close to a limit on it is counted exactly: no more than this are asked for at one moment

# There is no row to lock that others would not wait for in vain.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:what AS text) || ' ' || CAST(:whose AS text), 0))")

_OPEN = "r.status IN ('queued', 'running', 'waiting', 'paused')"

_OF_USER = text(f"""
    SELECT count(*) FROM (
        SELECT FROM runs r WHERE r.requested_by = CAST(:user AS uuid) AND {_OPEN} LIMIT CAST(:most AS int)) AS few
""")

_OF_ORGANISATION = text(f"""
    SELECT count(*) FROM (
        SELECT FROM runs r JOIN sessions s ON s.id = r.session_id
        WHERE s.org_id = CAST(:org AS uuid) AND {_OPEN} LIMIT CAST(:most AS int)) AS few
""")

_SESSIONS = text("""
    SELECT count(*) FROM (
        SELECT FROM sessions WHERE org_id = CAST(:org AS uuid) AND deleted_at IS NULL LIMIT CAST(:most AS int)) AS few
""")

_KEYS = text("""
    SELECT count(*) FROM (
        SELECT FROM api_keys
        WHERE user_id = CAST(:user AS uuid) AND revoked_at IS NULL
          AND (expires_at IS NULL OR expires_at > clock_timestamp())
        LIMIT CAST(:most AS int)) AS few
""")


async def lock(db: Db, what: Literal["sessions", "runs", "keys"], whose: UserId | OrganisationId) -> None:
    """Keep others from counting these until the end of the transaction. After the session's lock, if there is one; a
    user's before an organisation's."""
    await db.execute(_LOCK, {"what": what, "whose": whose})


async def runs_of_user(db: Db, user: UserId, *, most: int) -> int:
    """Runs that the user has asked for and that have not ended, counted up to `most`."""
    found: int = (await db.execute(_OF_USER, {"user": user, "most": most})).scalar_one()
    return found


async def runs_of_organisation(db: Db, org: OrganisationId, *, most: int) -> int:
    """Runs in the organisation's sessions that have not ended, counted up to `most`."""
    found: int = (await db.execute(_OF_ORGANISATION, {"org": org, "most": most})).scalar_one()
    return found


async def sessions_of_organisation(db: Db, org: OrganisationId, *, most: int) -> int:
    """The organisation's sessions that are not deleted, counted up to `most`."""
    found: int = (await db.execute(_SESSIONS, {"org": org, "most": most})).scalar_one()
    return found


async def keys_of_user(db: Db, user: UserId, *, most: int) -> int:
    """The user's API keys that work, counted up to `most`."""
    found: int = (await db.execute(_KEYS, {"user": user, "most": most})).scalar_one()
    return found
