"""Named counters: what the `counter` tool writes, so that a tool call done twice is seen."""

from sqlalchemy import text

from hub.store.database import Db

_INCREMENT = text("""
    INSERT INTO counters (key, value) VALUES (:key, 1)
    ON CONFLICT (key) DO UPDATE SET value = counters.value + 1
    RETURNING value
""")


async def increment(db: Db, key: str) -> int:
    """Add 1 to the counter, which begins at 0, and return its new value."""
    value: int = (await db.execute(_INCREMENT, {"key": key})).scalar_one()
    return value
