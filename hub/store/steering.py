"""Messages that are to steer a run: they wait for its next turn, and become runs of their own when none comes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId
from hub.store.database import Db

WAITING = """
    SELECT m.id::text, m.seq FROM messages m
    WHERE m.session_id = CAST(:session AS uuid) AND NOT m.in_state AND m.steers = CAST(:run AS uuid)
      AND m.steered IS NULL AND m.voided_seq IS NULL
"""
_WAITING = text(f"{WAITING} ORDER BY m.seq")

_CONSUME = text("""
    UPDATE messages SET steered = 'consumed'
    WHERE session_id = CAST(:session AS uuid) AND id = ANY(CAST(:messages AS uuid[]))
""")

# Who asks for the run is who wrote the message.
_FOLLOW_UP = text("""
    WITH steered AS (
        UPDATE messages m SET steered = 'follow_up'
        FROM unnest(CAST(:messages AS uuid[]), CAST(:runs AS uuid[])) AS f(message, run)
        WHERE m.session_id = CAST(:session AS uuid) AND m.id = f.message
        RETURNING m.id, m.session_id, m.seq, m.author_id, m.to_agent, f.run)
    INSERT INTO runs (id, session_id, status, team, input_message, input_seq, to_agent, requested_by)
    SELECT m.run, m.session_id, 'queued', s.team, m.id, m.seq, m.to_agent, CAST(m.author_id AS uuid)
    FROM steered m JOIN sessions s ON s.id = m.session_id
""")


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that was to steer a run and that no turn has taken."""

    message: MessageId
    seq: int


async def waiting(db: Db, session: SessionId, run: RunId) -> list[WaitingMessage]:
    """What still waits for a turn of this run, oldest first."""
    rows = await db.execute(_WAITING, {"session": session, "run": run})
    return [WaitingMessage(MessageId(row.id), row.seq) for row in rows]


async def consume(db: Db, session: SessionId, messages: Sequence[MessageId]) -> None:
    """Record that a turn has begun that was given these messages."""
    await db.execute(_CONSUME, {"session": session, "messages": list(messages)})


async def follow_up(db: Db, session: SessionId, runs: Sequence[tuple[MessageId, RunId]]) -> None:
    """Queue a run for each of these messages, in the place in the queue that it has by the message's `seq`."""
    values = {"session": session, "messages": [message for message, _ in runs], "runs": [run for _, run in runs]}
    await db.execute(_FOLLOW_UP, values)
