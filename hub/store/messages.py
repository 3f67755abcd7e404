"""What users and agents said. Each message has an event in the log, in the same transaction and at the same `seq`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId
from hub.domain.run import MessageStatus, Usage
from hub.store.database import Db

# The message's time is that of its event, to the microsecond: transcript and log agree.
_EVENT_TIME = "(SELECT ts FROM events WHERE session_id = CAST(:session AS uuid) AND seq = :seq)"

_INSERT_AGENT = sql(f"""
    INSERT INTO messages (id, session_id, seq, run_id, author_kind, author_id, author_name, text, reasoning, turn,
                          status, prompt_tokens, completion_tokens, created_at)
    VALUES (CAST(:id AS uuid), CAST(:session AS uuid), :seq, CAST(:run AS uuid), 'agent', :author_id, :author_name,
            :text, :reasoning, :turn, :status, :prompt_tokens, :completion_tokens, {_EVENT_TIME})
""")

_TRANSCRIPT = sql("""
    SELECT id::text, seq, run_id::text, author_kind, author_id, author_name, text, status, created_at
    FROM messages
    WHERE session_id = CAST(:session AS uuid) AND seq > :after AND status <> 'superseded'
    ORDER BY seq LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class TranscriptRow:
    """One message; `author` is the author as events have it."""

    id: MessageId
    seq: int
    run: RunId | None
    author: dict[str, str]
    text: str
    status: str
    created_at: datetime


async def insert_agent(
    db: Db,
    *,
    id: MessageId,
    session: SessionId,
    seq: int,
    run: RunId,
    author_id: str,
    author_name: str,
    text: str,
    reasoning: str | None = None,
    turn: int,
    status: MessageStatus,
    usage: Usage,
) -> None:
    """Record what an agent said; its event is at `seq` already. `author_id` is the agent's name, `author_name` the one
    that is shown."""
    await db.execute(
        _INSERT_AGENT,
        {
            "id": id,
            "session": session,
            "seq": seq,
            "run": run,
            "author_id": author_id,
            "author_name": author_name,
            "text": text,
            "reasoning": reasoning,
            "turn": turn,
            "status": status.value,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
    )


async def transcript(db: Db, session: SessionId, *, after_seq: int, limit: int) -> list[TranscriptRow]:
    """Up to `limit` messages with a seq above `after_seq`, oldest first, without those that are void."""
    rows = await db.execute(_TRANSCRIPT, {"session": session, "after": after_seq, "limit": limit})
    return [
        TranscriptRow(
            id=MessageId(row.id),
            seq=row.seq,
            run=RunId(row.run_id) if row.run_id else None,
            author=_author(row),
            text=row.text,
            status=row.status,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _author(row: Any) -> dict[str, str]:
    if row.author_kind == "user":
        return {"kind": "user", "id": row.author_id, "name": row.author_name}
    return {"kind": "agent", "name": row.author_id, "display_name": row.author_name}
