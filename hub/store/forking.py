"""Copies of conversations: a new session that holds what another one held at some point of its log.

Batches keep statements short. Until the last of them the new session counts as deleted: nobody can reach it, and when
its worker is lost, nothing is left that anybody could see.

What the copy needs of the past of the original is kept in positions at or below 0: a message that was heard at
`state_seq` has `state_seq - at` in the copy, and the checkpoint likewise. So the order stays, everything new comes
behind it, and a later cut can tell what the checkpoint holds.
"""

from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import SessionId
from hub.store.database import Db
from hub.store.pending import RETOLD

BATCH = 1_000  # messages per statement

# A checkpoint that holds a message said later is of another past than that of `at`: a copied one may.
_CHECKPOINT = text("""
    WITH base AS (
        SELECT c.* FROM checkpoints c
        WHERE c.session_id = CAST(:source AS uuid) AND c.seq <= :at AND c.whole AND NOT EXISTS (
            SELECT FROM messages m
            WHERE m.session_id = c.session_id AND m.seq > :at AND m.in_state AND m.voided_seq IS NULL
              AND coalesce(m.state_seq, m.seq) <= c.seq)
        ORDER BY c.seq DESC LIMIT 1),
    copied AS (
        INSERT INTO checkpoints (session_id, seq, run_id, turn, engine, state, created_at)
        SELECT CAST(:fork AS uuid), seq - :at, run_id, turn, engine, state, created_at FROM base)
    SELECT seq FROM base
""")

# A UUID of version 7, as all ids: what has the time of its original, and so is sorted by its id beside it, comes behind
# it. The place fits into the 12 bits that follow the version.
_COPY = """
    CAST(encode(
        substring(int8send(CAST(floor(extract(epoch FROM statement_timestamp()) * 1000) AS bigint)) FROM 3)
            || int2send(CAST(x'7000'::int + place AS smallint)) || substring(uuid_send(gen_random_uuid()) FROM 9),
        'hex') AS uuid)
"""

# Void is what was void at `at`; what was voided later counted still. Times are those of the originals.
_MESSAGES = text(f"""
    WITH counted AS (
        SELECT m.*, row_number() OVER (ORDER BY m.seq) AS place,
               coalesce(m.state_seq, CASE WHEN m.in_state THEN m.seq END) AS heard
        FROM messages m
        WHERE m.session_id = CAST(:source AS uuid) AND m.seq > :after AND m.seq <= :at
          AND (m.voided_seq IS NULL OR m.voided_seq > :at) AND m.status <> 'erased'
        ORDER BY m.seq LIMIT :batch),
    source AS MATERIALIZED (
        SELECT counted.*, {_COPY} AS copy FROM counted),
    position AS (
        UPDATE sessions SET last_seq = last_seq + (SELECT count(*) FROM source)
        WHERE id = CAST(:fork AS uuid)
        RETURNING last_seq - (SELECT count(*) FROM source) AS before),
    logged AS (
        INSERT INTO events (session_id, seq, type, ts, data)
        SELECT CAST(:fork AS uuid), before + place, CASE author_kind WHEN 'user' THEN 'message.created'
               ELSE 'message.completed' END, created_at,
            CASE author_kind
            WHEN 'user' THEN json_build_object(
                'message', copy, 'author', json_build_object('kind', 'user', 'id', author_id, 'name', author_name),
                'text', text, 'parts', parts, 'client_id', coalesce(client_id, copy::text), 'to', to_agent)
            ELSE json_strip_nulls(json_build_object(
                'message', copy,
                'author', json_build_object('kind', 'agent', 'name', author_id, 'display_name', author_name),
                'text', text, 'reasoning', reasoning, 'turn', turn, 'status', status,
                'usage', json_build_object('prompt_tokens', prompt_tokens, 'completion_tokens', completion_tokens)))
            END
        FROM source, position),
    copied AS (
        INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, parts, to_agent,
                              reasoning, turn, status, prompt_tokens, completion_tokens, created_at, in_state,
                              state_seq)
        SELECT copy, CAST(:fork AS uuid), before + place, author_kind, author_id, author_name, text, parts, to_agent,
               reasoning, turn, status, prompt_tokens, completion_tokens, created_at,
               coalesce(heard <= CAST(:base AS bigint), false), CASE WHEN heard <= :at THEN heard - :at END
        FROM source, position),
    authors AS (
        INSERT INTO participations (user_id, session_id)
        SELECT DISTINCT u.id, CAST(:fork AS uuid) FROM source
        JOIN users u ON u.id = CASE WHEN author_id ~ '^[0-9a-f-]{{36}}$' THEN CAST(author_id AS uuid) END
        WHERE author_kind = 'user'
        ON CONFLICT DO NOTHING)
    SELECT max(seq) AS after, count(*) AS count FROM source
""")

_HIDE = text("UPDATE sessions SET deleted_at = clock_timestamp() WHERE id = CAST(:fork AS uuid)")

# What is older than all that a team would be told again is forgotten, as engines forget it.
_SHOW = text("""
    WITH shown AS (
        UPDATE sessions SET deleted_at = NULL, updated_at = clock_timestamp() WHERE id = CAST(:fork AS uuid)
        RETURNING last_seq),
    told AS (
        SELECT id FROM messages WHERE session_id = CAST(:fork AS uuid) AND NOT in_state
        ORDER BY state_seq DESC NULLS FIRST, seq DESC OFFSET :retold),
    forgotten AS (
        UPDATE messages m SET in_state = true FROM told WHERE m.session_id = CAST(:fork AS uuid) AND m.id = told.id)
    SELECT last_seq FROM shown
""")


@dataclass(frozen=True, slots=True)
class Fork:
    """The new session `fork` is to hold what `source` held at `at`; `base` is the place in `source` of the checkpoint
    that was copied, if any."""

    source: SessionId
    at: int
    fork: SessionId
    base: int | None


async def begin(db: Db, source: SessionId, at: int, fork: SessionId) -> Fork:
    """Copy what the team knows. `fork` has been created; its log may have begun."""
    values = {"source": source, "at": at, "fork": fork}
    base: int | None = (await db.execute(_CHECKPOINT, values)).scalar_one_or_none()
    return Fork(source, at, fork, base)


async def copy(db: Db, fork: Fork, after: int) -> int | None:
    """Copy the next messages that stand after `after` in the source; up to where, or None when there are no more."""
    values = {"source": fork.source, "at": fork.at, "fork": fork.fork, "base": fork.base}
    row = (await db.execute(_MESSAGES, {**values, "after": after, "batch": BATCH})).one()
    return row.after if row.count == BATCH else None


async def hide(db: Db, fork: Fork) -> None:
    """Keep the new session from everybody, until `show`."""
    await db.execute(_HIDE, {"fork": fork.fork})


async def show(db: Db, fork: Fork) -> None:
    """All is copied: the new session is there."""
    await db.execute(_SHOW, {"fork": fork.fork, "retold": RETOLD})
