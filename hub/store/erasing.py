"""Taking a person out of everything: their words, their name, their credentials.

What is left is a tombstone, the row of the user with nothing in it, to which the ids that stand elsewhere still lead.
Everything here may be done again, and goes in pieces that keep no lock for long.
"""

from collections.abc import Sequence

from sqlalchemy import text

from hub.domain.ids import MessageId, RunId, SessionId, UserId
from hub.store.database import Db

ERASED = "erased"
"""What stands for the name of an erased person, and the status of an erased message."""

MESSAGES_AT_ONCE = 300
EVENTS_AT_ONCE = 2_000
ROWS_AT_ONCE = 2_000

_BURY = text(f"""
    WITH buried AS (
        UPDATE users SET name = '{ERASED}', name_key = '{ERASED}:' || id, password_hash = NULL, is_admin = false,
            auth_version = auth_version + 1, disabled_at = coalesce(disabled_at, clock_timestamp()),
            erased_at = clock_timestamp()
        WHERE id = CAST(:user AS uuid) AND erased_at IS NULL
        RETURNING id),
    keys AS (DELETE FROM api_keys k USING buried b WHERE k.user_id = b.id),
    tokens AS (DELETE FROM refresh_tokens t USING buried b WHERE t.user_id = b.id),
    known AS (DELETE FROM identities i USING buried b WHERE i.user_id = b.id)
    SELECT id::text FROM buried
""")

_PENDING = text("""
    SELECT id::text FROM users
    WHERE erased_at IS NOT NULL AND erasure_ended_at IS NULL
      AND erased_at <= clock_timestamp() - make_interval(secs => :age_s)
    ORDER BY erased_at LIMIT :limit
""")

_SESSIONS = text("""
    SELECT session_id::text FROM participations
    WHERE user_id = CAST(:user AS uuid) AND session_id > CAST(:after AS uuid) ORDER BY session_id LIMIT 200
""")

_OWNED_ALONE = text("""
    SELECT s.deleted_at IS NOT NULL AS deleted, NOT EXISTS (
        SELECT FROM members o WHERE o.session_id = s.id AND o.role = 'owner' AND o.user_id <> CAST(:user AS uuid))
        AS alone
    FROM sessions s WHERE s.id = CAST(:session AS uuid)
""")

_QUEUED = text("""
    SELECT id::text FROM runs WHERE session_id = CAST(:session AS uuid) AND requested_by = CAST(:user AS uuid)
      AND status = 'queued'
""")

# Theirs is what they said, and what agents said in runs that they asked for; in a fork, where runs are unknown, what
# agents said after a message of theirs.
_EMPTY_MESSAGES = text(f"""
    WITH batch AS (
        SELECT m.id, m.seq, m.voided_seq IS NULL AS counts FROM messages m
        WHERE m.session_id = CAST(:session AS uuid) AND m.status <> '{ERASED}' AND (
            (m.author_kind = 'user' AND m.author_id = :user)
            OR m.run_id IN (SELECT id FROM runs r WHERE r.session_id = m.session_id
                            AND r.requested_by = CAST(CAST(:user AS text) AS uuid))
            OR (m.author_kind = 'agent' AND m.run_id IS NULL AND :user = (
                SELECT u.author_id FROM messages u
                WHERE u.session_id = m.session_id AND u.author_kind = 'user' AND u.seq < m.seq
                ORDER BY u.seq DESC LIMIT 1)))
        ORDER BY m.seq DESC LIMIT :limit)
    UPDATE messages m SET text = '', parts = '[]', reasoning = NULL, client_id = NULL, body_hash = NULL,
        status = '{ERASED}', author_name = CASE m.author_kind WHEN 'user' THEN '{ERASED}' ELSE m.author_name END
    FROM batch WHERE m.id = batch.id
    RETURNING m.id::text, batch.counts
""")

_FORGET = text("DELETE FROM checkpoints WHERE session_id = CAST(:session AS uuid)")

_ASKED = text("""
    DELETE FROM input_requests q USING runs r
    WHERE q.session_id = CAST(:session AS uuid) AND r.id = q.run_id AND r.requested_by = CAST(:user AS uuid)
""")
# A statement of its own: of a row that one statement deletes and updates, only one of both is done.
_ANSWERED = text("""
    UPDATE input_requests SET answer = NULL
    WHERE session_id = CAST(:session AS uuid) AND resolved_by = CAST(:user AS uuid) AND answer IS NOT NULL
""")

_UPLOADED = text("""
    WITH gone AS (
        DELETE FROM attachments WHERE session_id = CAST(:session AS uuid) AND id = ANY(ARRAY(
            SELECT id FROM attachments
            WHERE session_id = CAST(:session AS uuid) AND user_id = CAST(:user AS uuid) LIMIT 20))
        RETURNING id),
    content AS (
        DELETE FROM attachment_pieces p USING gone
        WHERE p.session_id = CAST(:session AS uuid) AND p.attachment_id = gone.id)
    SELECT FROM gone
""")

_BY = f"""jsonb_build_object('by', data::jsonb->'by' || '{{"name":"{ERASED}"}}')"""
_APPROVERS = f"""jsonb_build_object('approved_by', (
    SELECT jsonb_agg(CASE p->>'id' WHEN :user THEN p || '{{"name":"{ERASED}"}}' ELSE p END)
    FROM jsonb_array_elements(data::jsonb->'approved_by') AS p))"""
_AUTHOR = f"""jsonb_build_object('author', data::jsonb->'author' || '{{"name":"{ERASED}"}}',
    'client_id', data::jsonb->'message')"""

# The log keeps its places and loses the words. An event stands where its message does.
_EMPTY_EVENTS = text(f"""
    WITH part AS (
        SELECT e.seq, e.type, e.run_id, e.data,
               EXISTS (SELECT FROM runs r WHERE r.id = e.run_id
                       AND r.requested_by = CAST(CAST(:user AS text) AS uuid)) AS own_run,
               EXISTS (SELECT FROM messages m WHERE m.session_id = e.session_id AND m.seq = e.seq
                       AND m.status = '{ERASED}') AS own_message,
               coalesce(e.data->'by'->>'id' = :user, false) AS by_them
        FROM events e
        WHERE e.session_id = CAST(:session AS uuid) AND e.seq > :after AND e.seq <= :after + {EVENTS_AT_ONCE}),
    changed AS (
        SELECT seq, CASE
            WHEN type = 'message.created' AND own_message
                THEN data::jsonb || '{{"text":"","parts":[]}}' || {_AUTHOR}
            WHEN type = 'message.completed' AND own_message THEN (data::jsonb - 'reasoning') || '{{"text":""}}'
            WHEN type = 'tool.called' AND own_run THEN data::jsonb || '{{"arguments":{{}}}}'
            WHEN type = 'tool.returned' AND own_run THEN (data::jsonb - 'characters') || '{{"result":""}}'
            WHEN type = 'agent.handoff' AND own_run THEN data::jsonb || '{{"reason":""}}'
            WHEN type = 'input.requested' AND own_run
                THEN (data::jsonb - 'arguments_sha256') || '{{"prompt":"","arguments":{{}}}}'
            WHEN type IN ('input.resolved', 'input.approved') AND by_them AND data->'approved_by' IS NOT NULL
                THEN data::jsonb || '{{"text": null}}' || {_BY} || {_APPROVERS}
            WHEN type IN ('input.resolved', 'input.approved') AND by_them
                THEN data::jsonb || '{{"text": null}}' || {_BY}
            WHEN type = 'input.resolved' AND data->'approved_by' IS NOT NULL THEN data::jsonb || {_APPROVERS}
            WHEN type = 'message.redacted' AND by_them THEN data::jsonb || {_BY}
            WHEN type IN ('member.added', 'member.removed', 'member.updated') AND data->>'user' = :user
                THEN data::jsonb || '{{"name":"{ERASED}"}}'
            END AS data
        FROM part),
    results AS (
        DELETE FROM tool_results t USING part
        WHERE part.type = 'tool.returned' AND part.own_run AND t.session_id = CAST(:session AS uuid)
          AND t.call_id = CAST(part.data->>'call' AS uuid))
    UPDATE events e SET data = changed.data::json FROM changed
    WHERE e.session_id = CAST(:session AS uuid) AND e.seq = changed.seq AND changed.data IS NOT NULL
""")

_LAST = text("SELECT coalesce(max(seq), 0) FROM events WHERE session_id = CAST(:session AS uuid)")

_REST = tuple(
    text(f"""DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE {column} = CAST(:user AS uuid) LIMIT {ROWS_AT_ONCE}))""")
    for table, column in (
        ("usage", "user_id"),
        ("budgets", "subject"),
        ("invites", "created_by"),
        ("members", "user_id"),
        ("organisation_members", "user_id"),
        ("participations", "user_id"),
    )
)

_ADDRESSES = text(f"""
    UPDATE audit SET address = NULL WHERE id = ANY(ARRAY(
        SELECT id FROM audit WHERE actor = CAST(CAST(:user AS text) AS uuid) AND address IS NOT NULL
        UNION SELECT id FROM audit WHERE object = 'user:' || CAST(:user AS text) AND address IS NOT NULL
        LIMIT {ROWS_AT_ONCE}))
""")

_END = text("""
    UPDATE users SET erasure_ended_at = clock_timestamp(), home_org_id = NULL
    WHERE id = CAST(:user AS uuid) AND erasure_ended_at IS NULL
""")

# Whose foreign keys lead to it come first; each has an index that begins with the session's id.
_PURGED = (
    "attachment_pieces",
    "attachments",
    "input_requests",
    "tool_calls",
    "tool_results",
    "checkpoints",
    "messages",
    "events",
    "runs",
    "invites",
)
_LARGE = ("attachment_pieces", "tool_results", "checkpoints")
_PURGE = tuple(
    text(f"""DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE session_id = CAST(:session AS uuid) LIMIT {limit}))""")
    for table, limit in ((table, 100 if table in _LARGE else 1_000) for table in _PURGED)
)
_PURGE_ROW = text("DELETE FROM sessions WHERE id = CAST(:session AS uuid) AND deleted_at IS NOT NULL")
_PURGE_BUDGETS = text("DELETE FROM budgets WHERE subject = CAST(:session AS uuid)")


async def bury(db: Db, user: UserId) -> bool:
    """Nobody is this user any more: name, password, keys, identities and sign-ins are gone; the name is free.
    False when it was so already, or there is no such user."""
    return (await db.execute(_BURY, {"user": user})).scalar_one_or_none() is not None


async def pending(db: Db, *, age_s: float, limit: int = 20) -> list[UserId]:
    """Users who were buried so many seconds ago and of whom something may be left, the oldest first."""
    return [UserId(row.id) for row in await db.execute(_PENDING, {"age_s": age_s, "limit": limit})]


async def sessions(db: Db, user: UserId, *, after: SessionId | None = None) -> list[SessionId]:
    """Up to 200 sessions in which anything of theirs may be, those deleted too, in the order of their ids."""
    first = after or SessionId("00000000-0000-0000-0000-000000000000")
    return [SessionId(row.session_id) for row in await db.execute(_SESSIONS, {"user": user, "after": first})]


async def is_theirs(db: Db, session: SessionId, user: UserId) -> tuple[bool, bool] | None:
    """Whether the session is deleted, and whether nobody else owns it; None when it is gone."""
    row = (await db.execute(_OWNED_ALONE, {"session": session, "user": user})).one_or_none()
    return (row.deleted, row.alone) if row is not None else None


async def queued(db: Db, session: SessionId, user: UserId) -> list[RunId]:
    """Runs they have asked for that nobody has begun."""
    return [RunId(row.id) for row in await db.execute(_QUEUED, {"session": session, "user": user})]


async def empty_messages(db: Db, session: SessionId, user: UserId) -> tuple[list[MessageId], bool]:
    """Take the words out of some of their messages, and of what agents answered to them: those that counted until now,
    and whether there may be more. Under the session's lock."""
    values = {"session": session, "user": user, "limit": MESSAGES_AT_ONCE}
    rows = (await db.execute(_EMPTY_MESSAGES, values)).all()
    return [MessageId(row.id) for row in rows if row.counts], len(rows) == MESSAGES_AT_ONCE


async def forget(db: Db, session: SessionId) -> None:
    """Take all that the team remembers; `hub.store.cutting.take_back` has it told again. Under the session's lock, with
    no run that is live."""
    await db.execute(_FORGET, {"session": session})


async def empty_answers(db: Db, session: SessionId, user: UserId) -> None:
    """Take away what their runs asked people, and what they answered to others."""
    await db.execute(_ASKED, {"session": session, "user": user})
    await db.execute(_ANSWERED, {"session": session, "user": user})


async def drop_attachments(db: Db, session: SessionId, user: UserId) -> bool:
    """Remove some of what they have uploaded; whether there may be more."""
    return bool((await db.execute(_UPLOADED, {"session": session, "user": user})).rowcount)


async def last_seq(db: Db, session: SessionId) -> int:
    """The end of the log, also of a deleted session."""
    found: int = (await db.execute(_LAST, {"session": session})).scalar_one()
    return found


async def empty_events(db: Db, session: SessionId, user: UserId, *, after: int) -> None:
    """Take their words and name out of `EVENTS_AT_ONCE` events after this one; their messages have lost them before."""
    await db.execute(_EMPTY_EVENTS, {"session": session, "user": user, "after": after})


async def empty_rest(db: Db, user: UserId) -> bool:
    """Take away some of what is in no session; whether there may be more."""
    touched = [(await db.execute(statement, {"user": user})).rowcount for statement in _REST]
    touched.append((await db.execute(_ADDRESSES, {"user": user})).rowcount)
    return any(touched)


async def end(db: Db, user: UserId) -> bool:
    """Nothing is left but the tombstone. False when that was known already."""
    return bool((await db.execute(_END, {"user": user})).rowcount)


async def purge(db: Db, session: SessionId) -> bool:
    """Remove some of what is left of a deleted session; whether there may be more. At the end its row is gone, too."""
    touched: Sequence[int] = [(await db.execute(statement, {"session": session})).rowcount for statement in _PURGE]
    if any(touched):
        return True
    await db.execute(_PURGE_BUDGETS, {"session": session})
    await db.execute(_PURGE_ROW, {"session": session})
    return False
