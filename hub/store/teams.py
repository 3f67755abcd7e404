"""Teams that were imported, version by version. A version is never changed; the newest one is what a team is now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.ids import OrganisationId, UserId
from hub.store.database import Db

_COLUMNS = "name, version, org_id::text, source, created_by::text, created_at, archived_at"

# Names have no row of their own to lock.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('team ' || CAST(:name AS text), 0))")

_GET = text(f"""
    SELECT {_COLUMNS} FROM teams
    WHERE name = :name AND (CAST(:version AS int) IS NULL OR version = :version) ORDER BY version DESC LIMIT 1
""")

_VERSIONS = text(f"""
    SELECT {_COLUMNS} FROM teams
    WHERE name = :name AND (CAST(:below AS int) IS NULL OR version < :below) ORDER BY version DESC LIMIT :limit
""")

_NEWEST = text(f"SELECT DISTINCT ON (name) {_COLUMNS} FROM teams ORDER BY name, version DESC")

# Rows come, go and are archived, and nothing else ever happens to them.
_MARK = text("SELECT count(*) AS rows, count(archived_at) AS archived, max(created_at) AS latest FROM teams")

_COUNT = text("SELECT count(DISTINCT name) FROM teams")

_ADD = text(f"""
    INSERT INTO teams (name, version, org_id, source, created_by)
    SELECT CAST(:name AS text), coalesce(max(version), 0) + 1, CAST(:org AS uuid), CAST(:source AS text),
           CAST(:user AS uuid)
    FROM teams WHERE name = CAST(:name AS text)
    RETURNING {_COLUMNS}
""")

_ARCHIVE = text("""
    UPDATE teams SET archived_at = clock_timestamp() WHERE name = :name AND version = :version AND archived_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class TeamVersion:
    """One version of a team: its file as it was given. `created_by` is None for the operator, at the machine."""

    name: str
    version: int
    organisation: OrganisationId | None
    source: str
    created_by: UserId | None
    created_at: datetime
    archived_at: datetime | None


async def lock(db: Db, name: str) -> None:
    """Nobody else changes this team until the end of the transaction."""
    await db.execute(_LOCK, {"name": name})


async def get(db: Db, name: str, version: int | None = None) -> TeamVersion | None:
    """This version of the team, or its newest one."""
    row = (await db.execute(_GET, {"name": name, "version": version})).one_or_none()
    return _version(row) if row is not None else None


async def versions(db: Db, name: str, *, below: int | None, limit: int) -> list[TeamVersion]:
    """The team's versions under a number, the newest first."""
    return [_version(row) for row in await db.execute(_VERSIONS, {"name": name, "below": below, "limit": limit})]


async def newest(db: Db) -> list[TeamVersion]:
    """The newest version of every team, also of archived ones, by name."""
    return [_version(row) for row in await db.execute(_NEWEST)]


async def mark(db: Db) -> tuple[object, ...]:
    """Something that is another as soon as any team is."""
    return tuple((await db.execute(_MARK)).one())


async def count(db: Db) -> int:
    """How many teams there are."""
    number: int = (await db.execute(_COUNT)).scalar_one()
    return number


async def add(
    db: Db, name: str, *, organisation: OrganisationId | None, source: str, user: UserId | None
) -> TeamVersion:
    """Add a version, under the team's lock."""
    values = {"name": name, "org": organisation, "source": source, "user": user}
    return _version((await db.execute(_ADD, values)).one())


async def archive(db: Db, name: str, version: int) -> bool:
    """Archive the team by its newest version. False when it was so already."""
    return bool((await db.execute(_ARCHIVE, {"name": name, "version": version})).rowcount)


def _version(row: Any) -> TeamVersion:
    return TeamVersion(
        name=row.name,
        version=row.version,
        organisation=OrganisationId(row.org_id) if row.org_id is not None else None,
        source=row.source,
        created_by=UserId(row.created_by) if row.created_by is not None else None,
        created_at=row.created_at,
        archived_at=row.archived_at,
    )
