"""What an operator wants to know about the database itself."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from hub.store.database import Db

_FACTS = text("""
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
           current_setting('max_connections')::int AS max_connections, pg_is_in_recovery() AS read_only,
           clock_timestamp() AS clock
""")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """`number` is the version as 180006 for 18.6; `read_only` is true of a standby."""

    version: str
    number: int
    max_connections: int
    read_only: bool
    clock: datetime


async def facts(db: Db) -> DatabaseFacts:
    """The database server's own words about itself."""
    row = (await db.execute(_FACTS)).one()
    return DatabaseFacts(row.version, row.number, row.max_connections, row.read_only, row.clock)
