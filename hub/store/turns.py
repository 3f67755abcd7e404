"""What an earlier attempt at a turn has left in the log."""

import json
from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import RunId, SessionId
from hub.store.database import Db

# Parsed here, not with `->>`: PostgreSQL cannot look into JSON in which a tool or a model has put a NUL.
_SINCE_LAST_TURN = text("""
    SELECT type, data::text FROM events
    WHERE session_id = CAST(:session AS uuid) AND run_id = CAST(:run AS uuid)
      AND type IN ('turn.started', 'turn.superseded', 'tool.called', 'tool.returned')
      AND seq >= (
        SELECT max(seq) FROM events
        WHERE session_id = CAST(:session AS uuid) AND run_id = CAST(:run AS uuid)
          AND type IN ('turn.started', 'turn.superseded'))
    ORDER BY seq
""")


@dataclass(frozen=True, slots=True)
class UnfinishedTurn:
    """A turn that was begun and has no checkpoint; `open_calls` are the tools whose effect is unknown."""

    turn: int
    attempt: int
    open_calls: tuple[str, ...]


async def unfinished(db: Db, session: SessionId, run: RunId, turn: int) -> UnfinishedTurn | None:
    """The attempt at turn number `turn` that its runner did not finish, if there is one."""
    rows = (await db.execute(_SINCE_LAST_TURN, {"session": session, "run": run})).all()
    if not rows or rows[0].type == "turn.superseded":
        return None
    started = json.loads(rows[0].data)
    if started["turn"] != turn:
        return None
    open_calls: dict[str, str] = {}
    for row in rows[1:]:
        data = json.loads(row.data)
        if row.type == "tool.called":
            open_calls[data["call"]] = data["name"]
        else:
            open_calls.pop(data["call"], None)
    return UnfinishedTurn(turn, started["attempt"], tuple(open_calls.values()))
