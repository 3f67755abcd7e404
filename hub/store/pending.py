"""Messages that the team of a session has not taken in yet.

A message is `in_state` once the checkpoint that holds it is committed. What is not, is given with the next turn: the
input of the run itself, what earlier runs left behind when they were cancelled or failed, and interrupted words of
agents. Messages that wait in the queue for a run of their own are not given to another one. What a team has heard
before and is told again, because its state was taken back, comes first and in the order in which it was heard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId, UserId
from hub.store.database import Db
from hub.store.transaction import Row

RETOLD = 400  # messages a team is told again, at most, when its state was taken back: as many as engines keep

PENDING = """
    SELECT m.id::text, m.seq, m.state_seq, m.author_kind, m.author_id, m.author_name, m.text, m.parts,
           m.steers IS NOT NULL AND m.steered IS NULL AS steering
    FROM messages m
    WHERE m.session_id = CAST(:session AS uuid) AND NOT m.in_state AND m.voided_seq IS NULL
      AND m.status IN ('complete', 'interrupted')
      AND (m.author_kind = 'agent' OR NOT EXISTS (
            SELECT FROM runs r
            WHERE r.session_id = m.session_id AND r.input_seq = m.seq AND r.id <> CAST(:run AS uuid)
              AND r.status IN ('queued', 'running', 'waiting', 'paused')))
"""
_PENDING = text(f"{PENDING} ORDER BY m.state_seq, m.seq")

_GIVEN = text("""
    SELECT c.state, m.text AS prompt, m.author_id::text AS asker, m.author_name AS asker_name,
           EXISTS (SELECT FROM tool_calls WHERE session_id = CAST(:session AS uuid)) AS awaits_calls
    FROM (SELECT 1) AS always
    LEFT JOIN LATERAL (
        SELECT state FROM checkpoints WHERE session_id = CAST(:session AS uuid) ORDER BY seq DESC LIMIT 1) AS c ON true
    LEFT JOIN messages m ON m.id = CAST(:message AS uuid) AND m.session_id = CAST(:session AS uuid)
""")

_SHOWN = text("""
    SELECT id::text FROM messages
    WHERE session_id = CAST(:session AS uuid) AND run_id = CAST(:run AS uuid) AND turn = :turn AND NOT in_state
      AND author_kind = 'agent' AND status = 'complete' AND voided_seq IS NULL
    ORDER BY seq
""")


@dataclass(frozen=True, slots=True)
class PendingInput:
    """`author_id` is a user's id or an agent's name. `steering`: it is to steer the run, and it is not told yet that it
    does."""

    message: MessageId
    seq: int
    is_agent: bool
    author_id: str
    author_name: str
    text: str
    parts: Sequence[Mapping[str, Any]]
    steering: bool


async def pending(db: Db, session: SessionId, run: RunId) -> list[PendingInput]:
    """What the next turn of this run must be given, oldest first."""
    return pending_of(await db.execute(_PENDING, {"session": session, "run": run}))


def pending_of(rows: Iterable[Row]) -> list[PendingInput]:
    """The messages in rows of `PENDING`."""
    return [
        PendingInput(
            MessageId(row.id),
            row.seq,
            row.author_kind == "agent",
            row.author_id,
            row.author_name,
            row.text,
            row.parts,
            row.steering,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Given:
    """What a run begins with: the team's state after the session's last finished turn (None: there was none), whether
    that state awaits results of calls, the message that asked for the run, its author and their name."""

    state: str | None
    awaits_calls: bool
    prompt: str
    asker: UserId | None
    asker_name: str


async def given(db: Db, session: SessionId, message: MessageId) -> Given:
    """What a run begins with that answers this message."""
    row = (await db.execute(_GIVEN, {"session": session, "message": message})).one()
    return Given(row.state, row.awaits_calls, row.prompt or "", row.asker, row.asker_name or "")


async def of_turn(db: Db, session: SessionId, run: RunId, turn: int) -> list[MessageId]:
    """What an unfinished turn has completed."""
    rows = await db.execute(_SHOWN, {"session": session, "run": run, "turn": turn})
    return [MessageId(row.id) for row in rows]
