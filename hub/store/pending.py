"""Messages that the team of a session has not taken in yet.

A message is `in_state` once the checkpoint that holds it is committed. What is not, is given with the next turn: the
input of the run itself, what earlier runs left behind when they were cancelled or failed, and interrupted words of
agents. Messages that wait in the queue for a run of their own are not given to another one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId
from hub.store.database import Db
from hub.store.transaction import Row

PENDING = """
    SELECT m.id::text, m.seq, m.author_kind, m.author_id, m.author_name, m.text
    FROM messages m LEFT JOIN runs r ON r.id = m.queued_run
    WHERE m.session_id = CAST(:session AS uuid) AND NOT m.in_state AND m.status IN ('complete', 'interrupted')
      AND (m.author_kind = 'agent' OR m.queued_run IS NULL OR m.queued_run = CAST(:run AS uuid)
           OR r.status IN ('completed', 'failed', 'cancelled'))
"""
_PENDING = text(f"{PENDING} ORDER BY m.seq")

_GIVEN = text("""
    SELECT c.state, m.text AS prompt
    FROM (SELECT 1) AS always
    LEFT JOIN LATERAL (
        SELECT state FROM checkpoints WHERE session_id = CAST(:session AS uuid) ORDER BY seq DESC LIMIT 1) AS c ON true
    LEFT JOIN messages m ON m.id = CAST(:message AS uuid) AND m.session_id = CAST(:session AS uuid)
""")

_SUPERSEDE = text("""
    UPDATE messages SET status = 'superseded'
    WHERE session_id = CAST(:session AS uuid) AND run_id = CAST(:run AS uuid) AND turn = :turn AND NOT in_state
      AND author_kind = 'agent' AND status = 'complete'
    RETURNING id::text
""")


@dataclass(frozen=True, slots=True)
class PendingInput:
    """`author_id` is a user's id or an agent's name."""

    message: MessageId
    seq: int
    is_agent: bool
    author_id: str
    author_name: str
    text: str


async def pending(db: Db, session: SessionId, run: RunId) -> list[PendingInput]:
    """What the next turn of this run must be given, oldest first."""
    return pending_of(await db.execute(_PENDING, {"session": session, "run": run}))


def pending_of(rows: Iterable[Row]) -> list[PendingInput]:
    """The messages in rows of `PENDING`."""
    return [
        PendingInput(MessageId(row.id), row.seq, row.author_kind == "agent", row.author_id, row.author_name, row.text)
        for row in rows
    ]


async def given(db: Db, session: SessionId, message: MessageId) -> tuple[str | None, str]:
    """What a run begins with: the team's state after the session's last finished turn (None: there was none), and the
    text of the message that asked for the run."""
    row = (await db.execute(_GIVEN, {"session": session, "message": message})).one()
    return row.state, row.prompt or ""


async def supersede(db: Db, session: SessionId, run: RunId, turn: int) -> list[MessageId]:
    """Void what an unfinished turn has completed, and say which messages these are."""
    rows = await db.execute(_SUPERSEDE, {"session": session, "run": run, "turn": turn})
    return [MessageId(row.id) for row in rows]
