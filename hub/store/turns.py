"""What an earlier attempt at a turn has left in the log."""

from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId
from hub.store.database import Db

_LAST = text("""
    SELECT seq, type, CAST(data ->> 'turn' AS int) AS turn, CAST(data ->> 'attempt' AS int) AS attempt
    FROM events
    WHERE session_id = CAST(:session AS uuid) AND run_id = CAST(:run AS uuid)
      AND type IN ('turn.started', 'turn.superseded')
    ORDER BY seq DESC LIMIT 1
""")

_CALLS = text("""
    SELECT called.data ->> 'name' AS name FROM events called
    WHERE called.session_id = CAST(:session AS uuid) AND called.run_id = CAST(:run AS uuid) AND called.seq > :seq
      AND called.type = 'tool.called' AND NOT EXISTS (
        SELECT 1 FROM events returned
        WHERE returned.session_id = called.session_id AND returned.run_id = called.run_id
          AND returned.seq > called.seq AND returned.type = 'tool.returned'
          AND returned.data ->> 'call' = called.data ->> 'call')
""")


@dataclass(frozen=True, slots=True)
class UnfinishedTurn:
    """A turn that was begun and has no checkpoint; `open_calls` are the tools whose effect is unknown."""

    turn: int
    attempt: int
    open_calls: tuple[str, ...]


async def unfinished(db: Db, session: SessionId, run: RunId, turn: int) -> UnfinishedTurn | None:
    """The attempt at turn number `turn` that its runner did not finish, if there is one."""
    row = (await db.execute(_LAST, {"session": session, "run": run})).one_or_none()
    if row is None or row.type == "turn.superseded" or row.turn != turn:
        return None
    calls = await db.execute(_CALLS, {"session": session, "run": run, "seq": row.seq})
    return UnfinishedTurn(row.turn, row.attempt, tuple(call.name for call in calls))
