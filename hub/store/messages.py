"""What users and agents said. Each message has an event in the log, in the same transaction and at the same `seq`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId
from hub.domain.run import MessageStatus, Usage
from hub.store.database import Db

# What agents said, for statements that write it; their values come from `values_of`. A message's time is that of its
# event, to the microsecond: transcript and log agree.
INSERT_AGENTS = """
    INSERT INTO messages (id, session_id, seq, run_id, author_kind, author_id, author_name, text, reasoning, turn,
                          status, prompt_tokens, completion_tokens, in_state, state_seq, created_at)
    SELECT m.id, e.session_id, e.seq, e.run_id, 'agent', m.author_id, m.author_name, m.text, m.reasoning, m.turn,
           m.status, m.prompt_tokens, m.completion_tokens, CAST(:state_seq AS bigint) IS NOT NULL,
           CAST(:state_seq AS bigint), e.ts
    FROM unnest(CAST(:message_ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:author_ids AS text[]),
                CAST(:author_names AS text[]), CAST(:texts AS text[]), CAST(:reasonings AS text[]),
                CAST(:turns AS int[]), CAST(:statuses AS text[]), CAST(:prompts AS int[]),
                CAST(:completions AS int[]))
        AS m(id, seq, author_id, author_name, text, reasoning, turn, status, prompt_tokens, completion_tokens)
    JOIN events e ON e.session_id = CAST(:session AS uuid) AND e.seq = m.seq
"""
_INSERT_AGENTS = sql(INSERT_AGENTS)

_TRANSCRIPT = sql("""
    SELECT id::text, seq, run_id::text, author_kind, author_id, author_name, text, parts, status, created_at
    FROM messages
    WHERE session_id = CAST(:session AS uuid) AND seq > :after AND voided_seq IS NULL
    ORDER BY seq LIMIT :limit
""")

_OF_RUN = sql("""
    SELECT count(*) FROM messages
    WHERE session_id = CAST(:session AS uuid) AND seq > :after AND run_id = CAST(:run AS uuid)
      AND author_kind = 'agent' AND voided_seq IS NULL
""")

_VOID = sql("""
    UPDATE messages m SET voided_seq = void.seq
    FROM unnest(CAST(:messages AS uuid[]), CAST(:seqs AS bigint[])) AS void(id, seq)
    WHERE m.session_id = CAST(:session AS uuid) AND m.id = void.id
""")


_RECORDED = sql("""
    SELECT id::text FROM messages WHERE session_id = CAST(:session AS uuid) AND id = ANY(CAST(:messages AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """What an agent said; its event, which tells the run, is at `seq` already. `author_id` is the agent's name,
    `author_name` the one that is shown."""

    id: MessageId
    seq: int
    author_id: str
    author_name: str
    text: str
    reasoning: str | None
    turn: int
    status: MessageStatus
    usage: Usage


@dataclass(frozen=True, slots=True)
class TranscriptRow:
    """One message; `author` is the author as events have it."""

    id: MessageId
    seq: int
    run: RunId | None
    author: dict[str, str]
    text: str
    parts: list[dict[str, Any]]
    status: str
    created_at: datetime


async def insert_agents(db: Db, session: SessionId, said: Sequence[AgentMessage]) -> None:
    """Record what agents said; the team's state does not hold it yet."""
    if said:
        await db.execute(_INSERT_AGENTS, values_of(session, said, state_seq=None))


def values_of(session: SessionId, said: Sequence[AgentMessage], *, state_seq: int | None) -> dict[str, Any]:
    """What `INSERT_AGENTS` needs. `state_seq` is the position of the checkpoint that holds them, if one does."""
    return {
        "session": session,
        "message_ids": [message.id for message in said],
        "seqs": [message.seq for message in said],
        "author_ids": [message.author_id for message in said],
        "author_names": [message.author_name for message in said],
        "texts": [message.text for message in said],
        "reasonings": [message.reasoning for message in said],
        "turns": [message.turn for message in said],
        "statuses": [message.status.value for message in said],
        "prompts": [message.usage.prompt_tokens for message in said],
        "completions": [message.usage.completion_tokens for message in said],
        "state_seq": state_seq,
    }


async def of_run(db: Db, session: SessionId, run: RunId, *, after: int) -> int:
    """How many messages of agents that count a run has made, all of which stand after this place of the log."""
    return int((await db.execute(_OF_RUN, {"session": session, "run": run, "after": after})).scalar_one())


async def void(db: Db, session: SessionId, messages: Sequence[tuple[MessageId, int]]) -> None:
    """Take these messages out of the conversation; each comes with the seq of the event that says so."""
    if messages:
        values = {"messages": [message for message, _ in messages], "seqs": [seq for _, seq in messages]}
        await db.execute(_VOID, {"session": session, **values})


async def recorded(db: Db, session: SessionId, messages: Sequence[MessageId]) -> set[MessageId]:
    """Which of these messages are finished: what an agent says is recorded only then."""
    rows = await db.execute(_RECORDED, {"session": session, "messages": list(messages)})
    return {MessageId(row.id) for row in rows}


async def transcript(db: Db, session: SessionId, *, after_seq: int, limit: int) -> list[TranscriptRow]:
    """Up to `limit` messages with a seq above `after_seq`, oldest first, without those that are void."""
    rows = await db.execute(_TRANSCRIPT, {"session": session, "after": after_seq, "limit": limit})
    return [
        TranscriptRow(
            id=MessageId(row.id),
            seq=row.seq,
            run=RunId(row.run_id) if row.run_id else None,
            author=author_of(row),
            text=row.text,
            parts=row.parts,
            status=row.status,
            created_at=row.created_at,
        )
        for row in rows
    ]


def author_of(row: Any) -> dict[str, str]:
    """The author in a row with `author_kind`, `author_id` and `author_name`, as events have it."""
    if row.author_kind == "user":
        return {"kind": "user", "id": row.author_id, "name": row.author_name}
    return {"kind": "agent", "name": row.author_id, "display_name": row.author_name}
