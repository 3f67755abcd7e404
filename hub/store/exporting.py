"""Everything about a session, or about a user, as lines of JSON, read in pages.

What is derived from the rest is left out (checkpoints and tool calls under way: the agents' own memory of the log, with
what the operator tells them), and so is whatever lets somebody in (hashes of secrets).
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from sqlalchemy import TextClause, text

from hub.domain.ids import SessionId, UserId
from hub.store.database import Store

PAGE = 200
LARGE_PAGE = 4  # rows that may have megabytes

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


def _time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def _lines(columns: str, source: str, key: str, of: str, type_: str) -> TextClause:
    """A page of one kind of line: the key, and an object with these columns."""
    return text(f"""
        SELECT page.line_key::text AS line_key, to_json(line)::text AS line FROM (
            SELECT {key} AS line_key, * FROM {source}
            WHERE {of} AND {key} > CAST(CAST(:after AS text) AS {type_})
            ORDER BY {key} LIMIT :limit) AS page
        CROSS JOIN LATERAL (SELECT {columns}) AS line ORDER BY page.line_key
    """)


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of line, in the order of a key that begins after `first`."""

    kind: str
    page: TextClause
    first: str
    limit: int = PAGE


def _by_id(kind: str, table: str, of: str, columns: str, *, limit: int = PAGE, key: str = "id") -> Section:
    return Section(kind, _lines(columns, table, key, of, "uuid"), _FIRST_ID, limit)


def _by_number(kind: str, table: str, of: str, columns: str, *, key: str, limit: int = PAGE) -> Section:
    return Section(kind, _lines(columns, table, key, of, "bigint"), "0", limit)


_IN_SESSION = "session_id = CAST(:of AS uuid)"
_BY_USER = "user_id = CAST(:of AS uuid)"
_USAGE = f"""session_id AS session, run_id AS run, turn, model, agent, prompt_tokens, completion_tokens, cost_micros,
    finish, error, turns, tool_calls, duration_ms, {_time("created_at")} AS created_at"""
_RUN = f"""id AS run, session_id AS session, status, team, team_version, attempt, input_seq,
    to_agent AS "to", requested_by, turn AS turns, prompt_tokens, completion_tokens, cost_micros, reason, error,
    {_time("created_at")} AS created_at,
    {_time("started_at")} AS started_at, {_time("finished_at")} AS finished_at"""
_ATTACHMENT = f"""session_id AS session, id AS attachment, user_id AS "user", name, media_type, size,
    encode(sha256, 'hex') AS sha256, {_time("created_at")} AS created_at, {_time("sent_at")} AS sent_at"""
_PIECE = """session_id AS session, attachment_id AS attachment, number,
    translate(encode(content, 'base64'), E'\\n', '') AS base64"""
_AUDIT = f"""{_time("at")} AS at, actor, action, object, address, detail"""

SESSION: tuple[Section, ...] = (
    _by_id(
        "session",
        "sessions",
        "id = CAST(:of AS uuid)",
        f"""id AS session, org_id AS organisation, title, team, on_busy, metadata, last_seq, created_by,
            {_time("created_at")} AS created_at, {_time("updated_at")} AS updated_at, forked_from, forked_at_seq""",
    ),
    _by_id(
        "member",
        "(SELECT m.*, u.name FROM members m JOIN users u ON u.id = m.user_id) AS found",
        _IN_SESSION,
        f'user_id AS "user", name, role, {_time("created_at")} AS since',
        key="user_id",
    ),
    _by_id(
        "invite",
        "invites",
        _IN_SESSION,
        f"""id AS invite, role, max_uses, uses, created_by, {_time("created_at")} AS created_at,
            {_time("expires_at")} AS expires_at""",
    ),
    _by_number(
        "event",
        "events",
        _IN_SESSION,
        f"seq, type, run_id AS run, {_time('ts')} AS ts, data",
        key="seq",
    ),
    _by_id("run", "runs", _IN_SESSION, _RUN),
    _by_id("attachment", "attachments", f"{_IN_SESSION} AND sha256 IS NOT NULL", _ATTACHMENT),
    _by_number("attachment_content", "attachment_pieces", _IN_SESSION, _PIECE, key="id", limit=LARGE_PAGE),
    _by_id(
        "tool_result",
        "tool_results",
        _IN_SESSION,
        f"call_id AS call, tool AS name, result, {_time('created_at')} AS created_at",
        key="call_id",
        limit=LARGE_PAGE,
    ),
    _by_number("usage", "usage", _IN_SESSION, _USAGE, key="id"),
)
"""What there is of a session that its members may know."""

USER: tuple[Section, ...] = (
    _by_id(
        "user",
        "users",
        "id = CAST(:of AS uuid)",
        f"""id AS "user", name, is_admin, password_hash IS NOT NULL AS has_password, home_org_id AS home,
            {_time("created_at")} AS created_at, {_time("disabled_at")} AS suspended_at""",
    ),
    _by_id(
        "organisation",
        "(SELECT m.*, o.name FROM organisation_members m JOIN organisations o ON o.id = m.org_id) AS found",
        _BY_USER,
        f"org_id AS organisation, name, role, {_time('created_at')} AS since",
        key="org_id",
    ),
    _by_id(
        "api_key",
        "api_keys",
        _BY_USER,
        f"""id AS key, name, scopes, {_time("created_at")} AS created_at, {_time("expires_at")} AS expires_at,
            {_time("revoked_at")} AS revoked_at, {_time("last_used_at")} AS last_used_at""",
    ),
    _by_id(
        "identity",
        "identities",
        _BY_USER,
        f"""issuer, subject, {_time("created_at")} AS created_at, {_time("last_used_at")} AS last_used_at""",
    ),
    _by_id(
        "sign_in",
        """(SELECT user_id, family, min(created_at) AS created_at, max(created_at) AS used_at,
                   max(expires_at) AS expires_at, max(revoked_at) AS ended_at
            FROM refresh_tokens GROUP BY user_id, family) AS found""",
        _BY_USER,
        f"""family AS sign_in, {_time("created_at")} AS created_at, {_time("used_at")} AS used_at,
            {_time("expires_at")} AS expires_at, {_time("ended_at")} AS ended_at""",
        key="family",
    ),
    _by_id(
        "membership",
        """(SELECT m.*, s.title, s.team, s.created_by FROM members m
            JOIN sessions s ON s.id = m.session_id AND s.deleted_at IS NULL) AS found""",
        _BY_USER,
        f"session_id AS session, title, team, role, {_time('created_at')} AS since",
        key="session_id",
    ),
    _by_id(
        "invite",
        "invites",
        "created_by = CAST(:of AS uuid)",
        f"""id AS invite, session_id AS session, role, max_uses, uses, {_time("created_at")} AS created_at,
            {_time("expires_at")} AS expires_at""",
    ),
    _by_number(
        "team",
        "(SELECT *, row_number() OVER (ORDER BY name, version) AS number FROM teams) AS found",
        "created_by = CAST(:of AS uuid)",
        f"""name AS team, version, org_id AS organisation, source, {_time("created_at")} AS created_at,
            {_time("archived_at")} AS archived_at""",
        key="number",
    ),
    _by_number("usage", "usage", _BY_USER, _USAGE, key="id"),
    _by_number(
        "audit",
        "audit",
        "(actor = CAST(:of AS uuid) OR object = 'user:' || CAST(:of AS text))",
        _AUDIT,
        key="id",
    ),
)
"""What there is of a user beside what they have said and done in sessions."""

_SESSIONS = text("""
    SELECT session_id::text FROM participations
    WHERE user_id = CAST(:user AS uuid) AND session_id > CAST(:after AS uuid) ORDER BY session_id LIMIT :limit
""")

_MINE = "session_id = CAST(:in AS uuid)"
IN_SESSION: tuple[Section, ...] = (
    _by_number(
        "message",
        "messages",
        f"{_MINE} AND author_kind = 'user' AND author_id = :of",
        f"""session_id AS session, id AS message, seq, text, parts, to_agent AS "to", client_id,
            voided_seq IS NOT NULL AS void, {_time("created_at")} AS created_at""",
        key="seq",
    ),
    _by_id("attachment", "attachments", f"{_MINE} AND user_id = CAST(:of AS uuid) AND sha256 IS NOT NULL", _ATTACHMENT),
    _by_number(
        "attachment_content",
        """(SELECT p.* FROM attachment_pieces p JOIN attachments a ON a.session_id = p.session_id
            AND a.id = p.attachment_id AND a.user_id = CAST(:of AS uuid)) AS found""",
        _MINE,
        _PIECE,
        key="id",
        limit=LARGE_PAGE,
    ),
    _by_id(
        "answer",
        "input_requests",
        f"{_MINE} AND resolved_by = CAST(:of AS uuid)",
        f"""session_id AS session, id AS request, resolved_seq AS seq, decision, answer AS text,
            {_time("resolved_at")} AS resolved_at""",
    ),
    _by_id("run", "runs", f"{_MINE} AND requested_by = CAST(:of AS uuid)", _RUN),
)
"""What a user has said and done in a session, also one that they have left, or that is deleted and not yet cleared."""


Lines = AsyncGenerator[list[tuple[str, str]]]
"""Pages of (kind, JSON object), each read with a short statement of its own."""


async def of_session(store: Store, session: SessionId, person: UserId) -> Lines:
    """Everything about a session, for this person."""
    for section in SESSION:
        async for page in _read(store, section, session, session, person):
            yield page


async def of_user(store: Store, user: UserId) -> Lines:
    """Everything about a user."""
    for section in USER:
        async for page in _read(store, section, user, user):
            yield page
    after, more = _FIRST_ID, True
    while more:
        async with store.statements() as db:
            sessions = (await db.execute(_SESSIONS, {"user": user, "after": after, "limit": PAGE})).scalars()
        for session in sessions:
            for section in IN_SESSION:
                async for page in _read(store, section, user, session):
                    yield page
        more = len(sessions) == PAGE
        after = sessions[-1] if sessions else after


async def _read(store: Store, section: Section, of: str, within: str, person: UserId | None = None) -> Lines:
    after: str | None = section.first
    while after is not None:
        async with store.transaction(person=person) as db:
            values = {"of": of, "in": within, "after": after, "limit": section.limit}
            rows = (await db.execute(section.page, values)).all()
        if rows:
            yield [(section.kind, row.line) for row in rows]
        after = rows[-1].line_key if len(rows) == section.limit else None
