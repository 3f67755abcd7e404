"""The tables, as declarative models: what Alembic compares migrations with. Statements are written in the modules that
own them; nothing is loaded or saved through these classes.

Ids are UUIDs given by the hub, times are the database's. Words of closed sets (roles, statuses) are plain text: the
domain's enums are their guard, so that two versions of the hub can share one schema.
"""

from hub.store.tables import people, runs, sessions, spending
from hub.store.tables.base import Base

__all__ = ["Base", "people", "runs", "sessions", "spending"]
