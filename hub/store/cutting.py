"""Cutting a conversation: what is said from some point on is void, and the team is taken back to what it knew there.

All of it under the session's lock. The log keeps everything; `messages.voided_seq` says what counts no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId
from hub.store.database import Db
from hub.store.pending import RETOLD

# The message that an agent's one answers is the input of its run; in a fork, where the run is unknown, the user's last.
_FIND = sql("""
    SELECT m.id::text, m.seq, m.author_kind, m.author_id, m.text, m.parts, m.to_agent,
           m.voided_seq IS NOT NULL AS is_void,
           a.id::text AS answered, a.seq AS answered_seq, a.to_agent AS answered_to,
           n.seq AS successor_seq, n.text AS successor_text, n.queued_run::text AS successor_run
    FROM messages m
    LEFT JOIN runs r ON r.id = m.run_id AND r.session_id = m.session_id
    LEFT JOIN LATERAL (
        SELECT id, seq, to_agent FROM messages u
        WHERE u.session_id = m.session_id AND u.author_kind = 'user' AND u.voided_seq IS NULL
          AND CASE WHEN r.id IS NULL THEN u.seq < m.seq ELSE u.seq = r.input_seq END
        ORDER BY u.seq DESC LIMIT 1) AS a ON m.author_kind = 'agent'
    LEFT JOIN LATERAL (
        SELECT seq, text, queued_run FROM messages u
        WHERE u.session_id = m.session_id AND u.seq > m.seq AND u.replaces = m.id AND u.voided_seq IS NULL
        LIMIT 1) AS n ON m.voided_seq IS NOT NULL
    WHERE m.session_id = CAST(:session AS uuid) AND m.id = CAST(:message AS uuid)
""")

_FROM = sql("""
    SELECT id::text FROM messages
    WHERE session_id = CAST(:session AS uuid) AND seq >= :seq AND voided_seq IS NULL
    ORDER BY seq LIMIT :limit
""")

# What the team has heard since the checkpoint it is taken back to is told to it again. None to go back to is one in the
# middle of a turn, or one that holds what is cut (that of a fork may, whatever its seq).
_TAKE_BACK = sql("""
    WITH base AS (
        SELECT max(c.seq) AS seq FROM checkpoints c
        WHERE c.session_id = CAST(:session AS uuid) AND c.seq < :seq AND c.whole AND NOT EXISTS (
            SELECT FROM messages m
            WHERE m.session_id = c.session_id AND m.seq >= :seq AND m.in_state AND m.voided_seq IS NULL
              AND coalesce(m.state_seq, m.seq) <= c.seq)),
    dropped AS (
        DELETE FROM checkpoints c USING base
        WHERE c.session_id = CAST(:session AS uuid) AND (base.seq IS NULL OR c.seq > base.seq)),
    uncalled AS (
        DELETE FROM tool_calls WHERE session_id = CAST(:session AS uuid)),
    retold AS (
        SELECT m.id FROM messages m, base
        WHERE m.session_id = CAST(:session AS uuid) AND m.in_state AND m.seq < :seq AND m.voided_seq IS NULL
          AND (base.seq IS NULL OR coalesce(m.state_seq, m.seq) > base.seq)
        ORDER BY coalesce(m.state_seq, m.seq) DESC, m.seq DESC LIMIT :retold)
    UPDATE messages m SET in_state = false, state_seq = coalesce(m.state_seq, m.seq)
    FROM retold WHERE m.session_id = CAST(:session AS uuid) AND m.id = retold.id
""")

_RUN_AGAIN = sql("""
    INSERT INTO runs (id, session_id, status, team, input_message, input_seq, to_agent, requested_by)
    SELECT CAST(:run AS uuid), m.session_id, 'queued', s.team, m.id, m.seq, m.to_agent, CAST(:user AS uuid)
    FROM messages m JOIN sessions s ON s.id = m.session_id
    WHERE m.session_id = CAST(:session AS uuid) AND m.id = CAST(:message AS uuid)
""")


@dataclass(frozen=True, slots=True)
class Place:
    """A user's message in the conversation; `to` is the agent it was addressed to, if any."""

    message: MessageId
    seq: int
    to: str | None


@dataclass(frozen=True, slots=True)
class Replacement:
    """The message that stands for one that was edited, and the run that answers it."""

    seq: int
    text: str
    run: RunId | None


@dataclass(frozen=True, slots=True)
class Target:
    """A message somebody wants to cut at. `author` is None for an agent's, and `answered` the user's message to which
    an agent's one belongs, if there is any. `parts` are what it holds beside its text. `replacement` is set when the
    message is void because it was edited."""

    place: Place
    author: str | None
    is_void: bool
    parts: Sequence[dict[str, Any]]
    answered: Place | None
    replacement: Replacement | None


async def find(db: Db, session: SessionId, message: MessageId) -> Target | None:
    """The message, or None when the session has no such message."""
    row = (await db.execute(_FIND, {"session": session, "message": message})).one_or_none()
    if row is None:
        return None
    answered = replacement = None
    if row.answered is not None:
        answered = Place(MessageId(row.answered), row.answered_seq, row.answered_to)
    if row.successor_seq is not None:
        run = RunId(row.successor_run) if row.successor_run is not None else None
        replacement = Replacement(row.successor_seq, row.successor_text, run)
    author = row.author_id if row.author_kind == "user" else None
    return Target(
        Place(MessageId(row.id), row.seq, row.to_agent), author, row.is_void, row.parts, answered, replacement
    )


async def said_from(db: Db, session: SessionId, seq: int, *, limit: int) -> list[MessageId]:
    """Up to `limit` messages that count, from this place on, oldest first."""
    rows = await db.execute(_FROM, {"session": session, "seq": seq, "limit": limit})
    return [MessageId(row.id) for row in rows]


async def take_back(db: Db, session: SessionId, seq: int) -> None:
    """Let the team forget what was said from this place on: it has the newest checkpoint before, and is told again what
    was said since; without one that old, the newest `RETOLD` messages. Runs must have ended before; the messages are to
    be voided after."""
    await db.execute(_TAKE_BACK, {"session": session, "seq": seq, "retold": RETOLD})


async def run_again(db: Db, session: SessionId, message: MessageId, run: RunId, user: str) -> None:
    """Queue another run for this message, for `user`."""
    await db.execute(_RUN_AGAIN, {"session": session, "message": message, "run": run, "user": user})
