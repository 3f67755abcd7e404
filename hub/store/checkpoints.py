"""What a team remembers: its engine's state after each finished turn of a session."""

from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId
from hub.store.database import Db

KEPT = 3  # newest checkpoints per session; older ones are only history, and their total size grows quadratically

_LATEST = text("""
    SELECT seq, run_id::text, turn, engine, state FROM checkpoints
    WHERE session_id = CAST(:session AS uuid) ORDER BY seq DESC LIMIT 1
""")

# The new row is not in the snapshot the DELETE sees, hence one less is kept of the others.
_SAVE = text("""
    WITH pruned AS (
        DELETE FROM checkpoints WHERE session_id = CAST(:session AS uuid) AND seq <= (
            SELECT seq FROM checkpoints WHERE session_id = CAST(:session AS uuid)
            ORDER BY seq DESC OFFSET :kept - 1 LIMIT 1))
    INSERT INTO checkpoints (session_id, seq, run_id, turn, engine, state, created_at)
    VALUES (CAST(:session AS uuid), :seq, CAST(:run AS uuid), :turn, :engine, :state, clock_timestamp())
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


async def save(db: Db, checkpoint: Checkpoint) -> None:
    """Add a checkpoint and drop all but the newest few of the session."""
    await db.execute(
        _SAVE,
        {
            "session": checkpoint.session,
            "seq": checkpoint.seq,
            "run": checkpoint.run,
            "turn": checkpoint.turn,
            "engine": checkpoint.engine,
            "state": checkpoint.state,
            "kept": KEPT,
        },
    )
