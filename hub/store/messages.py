"""What users and agents said. Each message has an event in the log, in the same transaction and at the same `seq`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId, UserId
from hub.domain.run import MessageStatus, Usage
from hub.store.database import Db

# The message's time is that of its event, to the microsecond: transcript and log agree.
_EVENT_TIME = "(SELECT ts FROM events WHERE session_id = CAST(:session AS uuid) AND seq = :seq)"

_BY_CLIENT_ID = sql("""
    SELECT id::text, seq, body_hash, queued_run::text FROM messages
    WHERE session_id = CAST(:session AS uuid) AND author_id = :author AND client_id = :client_id
""")

_INSERT_USER = sql(f"""
    INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, parts, client_id, body_hash,
                          queued_run, to_agent, status, created_at)
    VALUES (CAST(:id AS uuid), CAST(:session AS uuid), :seq, 'user', :author_id, :author_name, :text,
            CAST(:parts AS jsonb), :client_id, :body_hash, CAST(:queued_run AS uuid), :to_agent, 'complete',
            {_EVENT_TIME})
""")

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

_TEXT_OF = sql("""
    SELECT text FROM messages WHERE id = CAST(:message AS uuid) AND session_id = CAST(:session AS uuid)
""")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """What a repeated send needs to give the first answer again."""

    id: MessageId
    seq: int
    body_hash: bytes | None
    queued_run: RunId | None


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


async def by_client_id(db: Db, session: SessionId, author_id: str, client_id: str) -> StoredMessage | None:
    """The message this author sent into the session under this key, if any.

    Only under the session's lock does None mean that it stays so.
    """
    values = {"session": session, "author": author_id, "client_id": client_id}
    row = (await db.execute(_BY_CLIENT_ID, values)).one_or_none()
    if row is None:
        return None
    return StoredMessage(MessageId(row.id), row.seq, row.body_hash, RunId(row.queued_run) if row.queued_run else None)


async def insert_user(
    db: Db,
    *,
    id: MessageId,
    session: SessionId,
    seq: int,
    author_id: UserId,
    author_name: str,
    text: str,
    parts: Sequence[Mapping[str, object]] = (),
    client_id: str,
    body_hash: bytes,
    queued_run: RunId | None,
    to_agent: str | None = None,
) -> None:
    """Record what a user said; its event is at `seq` already. Leaves the transaction with `Conflict` when this author
    has used the `client_id` in this session before."""
    await db.execute(
        _INSERT_USER,
        {
            "id": id,
            "session": session,
            "seq": seq,
            "author_id": author_id,
            "author_name": author_name,
            "text": text,
            "parts": json.dumps([dict(part) for part in parts]),
            "client_id": client_id,
            "body_hash": body_hash,
            "queued_run": queued_run,
            "to_agent": to_agent,
        },
    )


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


async def text_of(db: Db, session: SessionId, message: MessageId) -> str | None:
    """The text of this message of this session, or None when it has no such message."""
    found: str | None = (await db.execute(_TEXT_OF, {"message": message, "session": session})).scalar_one_or_none()
    return found


def _author(row: Any) -> dict[str, str]:
    if row.author_kind == "user":
        return {"kind": "user", "id": row.author_id, "name": row.author_name}
    return {"kind": "agent", "name": row.author_id, "display_name": row.author_name}
