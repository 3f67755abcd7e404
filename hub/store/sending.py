"""A user's message and the run that answers it: in one statement of its own where nothing stands in the way
(`at_once`), else looked up in one and written in one.

This is what every acknowledgement waits for, so round trips count: while one is under way the connection is nobody
else's, and a worker that is busy takes its time for each.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text as sql

from hub.domain.ids import MessageId, RunId, SessionId, UserId
from hub.domain.session import OnBusy, Role, Session
from hub.protocol.durable import MessageCreatedData, RunQueuedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.pieces import UserAuthor
from hub.store import log, sessions
from hub.store.database import Db

_BEFORE = sql(f"""
    SELECT seen.*, known.message::text, known.message_seq, known.body_hash, known.queued_run::text,
           busy.run::text, busy.run_status,
           EXISTS (SELECT FROM budgets b WHERE b.subject IN (
               CAST(:session AS uuid), CAST(:user AS uuid), CAST(seen.org_id AS uuid))) AS budgeted,
           (SELECT count(*) FROM (
               SELECT FROM runs WHERE requested_by = CAST(:user AS uuid)
                   AND status IN ('queued', 'running', 'waiting', 'paused')
               LIMIT CAST(:runs AS int)) AS few) AS open_runs
    FROM ({sessions.SELECT} WHERE s.id = CAST(:session AS uuid) AND s.deleted_at IS NULL) AS seen
    LEFT JOIN LATERAL (
        SELECT id AS message, seq AS message_seq, body_hash, queued_run FROM messages
        WHERE session_id = CAST(:session AS uuid) AND author_id = :author AND client_id = :client_id) AS known ON true
    LEFT JOIN LATERAL (
        SELECT id AS run, status AS run_status FROM runs
        WHERE session_id = CAST(:session AS uuid) AND finished_at IS NULL
        ORDER BY (status = 'queued'), input_seq LIMIT 1) AS busy ON true
""")

_SEND = sql(f"""
    WITH {log.POSITION},
    said AS (
        INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, parts, client_id,
                              body_hash, queued_run, steers, replaces, to_agent, status, created_at)
        SELECT CAST(:message AS uuid), CAST(:session AS uuid), before + 1 + CAST(:at AS int), 'user', :author,
               :author_name, :text, CAST(:parts AS jsonb), :client_id, :body_hash, CAST(:run AS uuid),
               CAST(:steers AS uuid), CAST(:replaces AS uuid), :to_agent, 'complete', ts
        FROM position),
    queued AS (
        INSERT INTO runs (id, session_id, status, team, input_message, input_seq, to_agent, requested_by, created_at)
        SELECT CAST(:run AS uuid), CAST(:session AS uuid), 'queued', :team, CAST(:message AS uuid),
               before + 1 + CAST(:at AS int), :to_agent, CAST(:user AS uuid), ts
        FROM position WHERE CAST(:run AS uuid) IS NOT NULL)
    SELECT before, ts FROM position
""")


_AT_ONCE = sql("""
    SELECT before_seq, sent_at, steered_run::text FROM hub_send(
        CAST(:user AS uuid), CAST(:session AS uuid), CAST(:roles AS text[]), :policy, CAST(:patient AS text[]),
        CAST(:limited AS text[]), :runs, CAST(:message AS uuid), CAST(:run AS uuid), :author_name, :text,
        CAST(:parts AS jsonb), :client_id, :body_hash, :head)
""")
_PATIENT = [OnBusy.QUEUE.value, OnBusy.STEER.value]  # nobody has to be stopped or refused for such a message


@dataclass(frozen=True, slots=True)
class SentMessage:
    """What a repeated send needs to give the first answer again."""

    id: MessageId
    seq: int
    body_hash: bytes | None
    queued_run: RunId | None


@dataclass(frozen=True, slots=True)
class Before:
    """The session as the author sees it, the message they sent under this key, if any, and the run that keeps the
    session busy, if any: the live one, or else the first in its queue. `budgeted`: limits were set for the session, the
    author or the organisation. `open_runs` are those the author has asked for anywhere and that have not ended, counted
    as far as one may have."""

    session: Session
    known: SentMessage | None
    busy: RunId | None
    busy_is_live: bool
    budgeted: bool
    open_runs: int


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message of a user that asks for the new run `run`, or else is to steer the run `steers`. `body_hash` tells two
    bodies under one `client_id` apart. `replaces` is the message in whose place it stands. `team` None: the session's.
    """

    id: MessageId
    run: RunId | None
    team: str | None
    author: UserId
    author_name: str
    text: str
    client_id: str
    to: str | None
    parts: Sequence[Mapping[str, object]] = ()
    body_hash: bytes | None = None
    steers: RunId | None = None
    replaces: MessageId | None = None

    def created(self) -> NewEvent:
        """The event that tells of it."""
        return NewEvent(
            MessageCreatedData(
                message=self.id,
                author=UserAuthor(id=self.author, name=self.author_name),
                text=self.text,
                parts=[dict(part) for part in self.parts],
                client_id=self.client_id,
                to=self.to,
                replaces=self.replaces,
                steers=self.steers,
            )
        )


async def at_once(
    db: Db,
    session: SessionId,
    message: NewMessage,
    *,
    on_busy: OnBusy | None,
    roles: Sequence[Role],
    limited: Sequence[str],
    most_runs: int | None,
) -> list[LoggedEvent] | None:
    """Append and write all that `send` would, for a message to the whole team without attachments; its author and the
    session are looked at, and locked, within. To be called outside of a transaction: what it returns is committed.

    The message steers the run that keeps the session busy, if that is the policy (`on_busy`, else the session's), or
    else asks for its own. None, and nothing is written, when somebody has to look closer: the author has none of these
    `roles`, the `client_id` is known, the policy wants a live run stopped or the message refused, or a run would have
    to be counted: there are budgets, the team is one of those that are `limited`, the author has `most_runs` open
    (None: those are not looked at).
    """
    head = message.created().data.model_dump_json()[:-1]
    values = {
        "session": session,
        "user": message.author,
        "roles": [role.value for role in roles],
        "policy": on_busy.value if on_busy is not None else None,
        "patient": _PATIENT,
        "limited": limited,
        "runs": most_runs,
        "message": message.id,
        "run": message.run,
        "author_name": message.author_name,
        "text": message.text,
        "parts": json.dumps(message.parts),
        "client_id": message.client_id,
        "body_hash": message.body_hash,
        "head": head,
    }
    row = (await db.execute(_AT_ONCE, values)).one_or_none()
    if row is None:
        return None
    seq, at = row.before_seq + 1, row.sent_at
    if row.steered_run is not None:
        data = f'{head},"steers":"{row.steered_run}"}}'
        return [LoggedEvent(session, seq, MessageCreatedData.TYPE, None, at, data)]
    queued = RunQueuedData(input_seq=seq).model_dump_json()
    return [
        LoggedEvent(session, seq, MessageCreatedData.TYPE, None, at, head + "}"),
        LoggedEvent(session, seq + 1, RunQueuedData.TYPE, message.run, at, queued),
    ]


async def before(db: Db, session: SessionId, author: UserId, client_id: str, *, most_runs: int) -> Before | None:
    """What a send must know, under the session's lock; None when there is no such session."""
    values = {"session": session, "user": author, "author": author, "client_id": client_id, "runs": most_runs}
    row = (await db.execute(_BEFORE, values)).one_or_none()
    if row is None:
        return None
    known = None
    if row.message is not None:
        run = RunId(row.queued_run) if row.queued_run is not None else None
        known = SentMessage(MessageId(row.message), row.message_seq, row.body_hash, run)
    busy = RunId(row.run) if row.run is not None else None
    return Before(
        sessions.session_of(row),
        known,
        busy,
        row.run_status in ("running", "waiting", "paused"),
        row.budgeted,
        row.open_runs,
    )


async def send(
    db: Db, session: SessionId, message: NewMessage, events: Sequence[NewEvent], *, at: int = 0
) -> list[LoggedEvent]:
    """Append `events`, of which number `at` (from 0) is that of the message, and write the message and the run it asks
    for.

    Leaves the transaction with `Conflict` when this author has used the `client_id` in this session before.
    """
    values = log.values_of(session, events)
    position = (
        await db.execute(
            _SEND,
            values
            | {
                "message": message.id,
                "run": message.run,
                "steers": message.steers,
                "replaces": message.replaces,
                "at": at,
                "team": message.team,
                "author": message.author,
                "user": message.author,
                "author_name": message.author_name,
                "text": message.text,
                "parts": json.dumps([dict(part) for part in message.parts]),
                "client_id": message.client_id,
                "body_hash": message.body_hash,
                "to_agent": message.to,
            },
        )
    ).one()
    return log.logged(session, events, values["data"], position)
