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
from hub.domain.run import Lease
from hub.store.database import Db
from hub.store.transaction import Row

RETOLD = 400  # messages a team is told again, at most, when its state was taken back: as many as engines keep

# As long as PostgreSQL does not know how many runs there are it would look for what is open among all of them: it must
# look for the one of each message, for which there is an index, hence no EXISTS, and the time for the status.
_PENDING = """
    SELECT m.id::text, m.seq, m.state_seq, m.author_kind, m.author_id, m.author_name, m.text, m.parts,
           m.steers IS NOT NULL AND m.steered IS NULL AS steering
    FROM messages m
    WHERE m.session_id = {session} AND NOT m.in_state AND m.voided_seq IS NULL
      AND m.status IN ('complete', 'interrupted')
      AND (m.author_kind = 'agent' OR (
            SELECT true FROM runs r
            WHERE r.session_id = m.session_id AND r.input_seq = m.seq AND r.id <> {run} AND r.finished_at IS NULL
            LIMIT 1) IS NULL)
"""
PENDING = _PENDING.format(session="CAST(:session AS uuid)", run="CAST(:run AS uuid)")
"""What the next turn of this run must be given, for a statement that orders it by `state_seq`, `seq`."""

# A row for each message, or one without; the first of a run has the rest, which may be large. The window and OFFSET
# keep PostgreSQL from joining with all messages there are, or all of a session. SELECT keeps from the planner how many
# runs there are: it would plan anew each time, which takes longer than the statement.
_GIVEN = text(f"""
    SELECT claimed.run::text, asked.*, pending.*
    FROM unnest((SELECT CAST(:sessions AS uuid[])), (SELECT CAST(:runs AS uuid[])), (SELECT CAST(:messages AS uuid[])))
            AS claimed(session, run, message)
    LEFT JOIN LATERAL (
        SELECT told.*, row_number() OVER (ORDER BY told.state_seq, told.seq) AS number
        FROM ({_PENDING.format(session="claimed.session", run="claimed.run")}) AS told) AS pending ON true
    LEFT JOIN LATERAL (
        SELECT m.text AS prompt, m.author_id AS asker, m.author_name AS asker_name,
               (SELECT state FROM checkpoints WHERE session_id = claimed.session ORDER BY seq DESC LIMIT 1) AS state,
               EXISTS (SELECT FROM tool_calls WHERE session_id = claimed.session) AS awaits_calls
        FROM (SELECT) AS begins
        LEFT JOIN LATERAL (SELECT * FROM messages WHERE id = claimed.message OFFSET 0) AS m
            ON m.session_id = claimed.session
        ) AS asked ON coalesce(pending.number, 1) = 1
    ORDER BY pending.number
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
    that state awaits results of calls, the message that asked for the run, its author and their name, and what its next
    turn must be given, oldest first."""

    state: str | None
    awaits_calls: bool
    prompt: str
    asker: UserId | None
    asker_name: str
    pending: tuple[PendingInput, ...]


async def given(db: Db, claimed: Sequence[tuple[Lease, MessageId]]) -> dict[Lease, Given]:
    """What each of these runs begins with, which answers this message. They are held meanwhile."""
    values = {
        "sessions": [lease.session for lease, _ in claimed],
        "runs": [lease.run for lease, _ in claimed],
        "messages": [message for _, message in claimed],
    }
    found = dict[RunId, list[Row]]()
    for row in await db.execute(_GIVEN, values):
        found.setdefault(RunId(row.run), []).append(row)
    return {lease: _given_of(found[lease.run]) for lease, _ in claimed}


async def of_turn(db: Db, session: SessionId, run: RunId, turn: int) -> list[MessageId]:
    """What an unfinished turn has completed."""
    rows = await db.execute(_SHOWN, {"session": session, "run": run, "turn": turn})
    return [MessageId(row.id) for row in rows]


def _given_of(rows: Sequence[Row]) -> Given:
    first = rows[0]
    return Given(
        first.state,
        first.awaits_calls,
        first.prompt or "",
        first.asker,
        first.asker_name or "",
        tuple(pending_of(row for row in rows if row.id is not None)),
    )
