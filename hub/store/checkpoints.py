"""What a team remembers: its engine's state after each finished turn of a session."""

from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId
from hub.store.database import Db

_LATEST = text("""
    SELECT seq, run_id::text, turn, engine, state FROM checkpoints
    WHERE session_id = CAST(:session AS uuid) ORDER BY seq DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after turn `turn` of run `run`, as JSON text; `seq` is the log position at which it was taken."""

    session: SessionId
    seq: int
    run: RunId
    turn: int
    engine: str
    state: str


async def latest(db: Db, session: SessionId) -> Checkpoint | None:
    """The newest checkpoint of the session, or None when no turn has been finished in it."""
    row = (await db.execute(_LATEST, {"session": session})).one_or_none()
    if row is None:
        return None
    return Checkpoint(session, row.seq, RunId(row.run_id), row.turn, row.engine, row.state)
