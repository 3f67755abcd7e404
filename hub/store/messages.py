"""What users and agents said. Each message has an event in the log, in the same transaction and at the same `seq`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId
from hub.domain.run import Lease, MessageStatus, Usage
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.store import log
from hub.store.database import Db

# What agents said, for statements that write its events under a lease (`log.fenced`); values come from `values_of`.
# `{state_seq}` is the position of the checkpoint that holds it, if one does. A message's time is that of its event, to
# the microsecond: transcript and log agree.
INSERT_AGENTS = """
    INSERT INTO messages (id, session_id, seq, run_id, author_kind, author_id, author_name, text, reasoning, turn,
                          status, prompt_tokens, completion_tokens, in_state, state_seq, created_at)
    SELECT m.id, CAST(:session AS uuid), before + CAST(:early AS int) + m.number, CAST(:run AS uuid), 'agent',
           m.author_id, m.author_name, m.text, m.reasoning, m.turn, m.status, m.prompt_tokens, m.completion_tokens,
           {state_seq} IS NOT NULL, {state_seq}, ts
    FROM position,
         unnest(CAST(:message_ids AS uuid[]), CAST(:author_ids AS text[]), CAST(:author_names AS text[]),
                CAST(:texts AS text[]), CAST(:reasonings AS text[]), CAST(:turns AS int[]), CAST(:statuses AS text[]),
                CAST(:prompts AS int[]), CAST(:completions AS int[])) WITH ORDINALITY
             AS m(id, author_id, author_name, text, reasoning, turn, status, prompt_tokens, completion_tokens, number)
"""
_SAY = sql(f"""
    WITH {log.fenced()}, said AS ({INSERT_AGENTS.format(state_seq="CAST(NULL AS bigint)")})
    SELECT there, before, ts FROM {log.FENCED_POSITION}
""")

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
    """What an agent said. `author_id` is the agent's name, `author_name` the one that is shown."""

    id: MessageId
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


async def say(
    db: Db, lease: Lease, said: Sequence[AgentMessage], events: Sequence[NewEvent], *, early: int = 0
) -> list[LoggedEvent]:
    """Append `events` to the log and record what agents said, which the team's state does not hold yet: the first
    message's event is number `early` (from 0), those of the others follow it. All of it or nothing, also when the
    statement is a transaction of its own. Raises as `log.append` does."""
    if not said:
        return await log.append(db, lease.session, events, lease=lease)
    values = log.values_of(lease.session, events)
    row = (await db.execute(_SAY, {**values, **log.held_by(lease), **values_of(said, early=early)})).one()
    await log.check(db, row)
    return log.logged(lease.session, events, values["data"], row)


def values_of(said: Sequence[AgentMessage], *, early: int) -> dict[str, Any]:
    """What `INSERT_AGENTS` needs beside what `log.fenced` does. The event of the first is number `early` (from 0)."""
    return {
        "early": early,
        "message_ids": [message.id for message in said],
        "author_ids": [message.author_id for message in said],
        "author_names": [message.author_name for message in said],
        "texts": [message.text for message in said],
        "reasonings": [message.reasoning for message in said],
        "turns": [message.turn for message in said],
        "statuses": [message.status.value for message in said],
        "prompts": [message.usage.prompt_tokens for message in said],
        "completions": [message.usage.completion_tokens for message in said],
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
