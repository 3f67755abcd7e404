"""Sessions: the rows. What happens in one is in its log (`hub.store.log`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text

from hub.domain.errors import Forbidden
from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.session import ForkedFrom, OnBusy, Role, Session, SessionStatus
from hub.store import pages
from hub.store.database import Db

NO_MEMBER = "only members of an organisation open sessions in it"

# The status of a session is that of its live run; a unique index allows one at most.
_COLUMNS = """
    s.id::text, s.title, s.team, m.role, coalesce(r.status, 'idle') AS status, s.last_seq, s.on_busy,
    s.created_at, s.updated_at, s.metadata, s.forked_from::text, s.forked_at_seq, s.org_id::text
"""
_MEMBER = "members m ON m.session_id = s.id AND m.user_id = CAST(:user AS uuid)"
_LIVE_RUN = "runs r ON r.session_id = s.id AND r.status IN ('running', 'waiting', 'paused')"

# FOR SHARE: nobody takes the owner out of the organisation before this transaction ends.
_CREATE = text("""
    WITH place AS (
        SELECT m.org_id FROM organisation_members m JOIN users u ON u.id = m.user_id
        WHERE m.user_id = CAST(:owner AS uuid) AND m.role <> 'guest'
          AND m.org_id = coalesce(CAST(:org AS uuid), u.home_org_id)
        FOR SHARE OF m),
    made AS (
        INSERT INTO sessions (id, org_id, title, team, on_busy, metadata, created_by, forked_from, forked_at_seq)
        SELECT CAST(:id AS uuid), org_id, :title, :team, :on_busy, CAST(:metadata AS jsonb), CAST(:owner AS uuid),
               CAST(:forked_from AS uuid), CAST(:forked_at_seq AS bigint)
        FROM place
        RETURNING id)
    SELECT id FROM made
""")

# A statement of its own: it is behind a policy that looks at the session.
_FIRST_MEMBER = text("""
    INSERT INTO members (session_id, user_id, role) VALUES (CAST(:id AS uuid), CAST(:owner AS uuid), 'owner')
""")

_OWNED = text("""
    SELECT count(*) FROM (
        SELECT FROM members m JOIN sessions s ON s.id = m.session_id
        WHERE m.user_id = CAST(:user AS uuid) AND m.role = 'owner' AND s.deleted_at IS NULL LIMIT CAST(:most AS int)
    ) AS few
""")

SELECT = f"SELECT {_COLUMNS} FROM sessions s LEFT JOIN {_MEMBER} LEFT JOIN {_LIVE_RUN}"
"""Sessions as `:user` sees them; for `session_of`."""

_GET = text(f"""
    {SELECT}
    WHERE s.id = CAST(:session AS uuid) AND s.deleted_at IS NULL
""")

# Rows are locked in the order of the clauses. Locking the membership, too, after the wait for the session, shows it as
# it is then, not as it was when the statement began. NO KEY: what refers to the session may be inserted meanwhile.
_GET_LOCKED = text(f"""
    SELECT {_COLUMNS} FROM sessions s JOIN {_MEMBER} LEFT JOIN {_LIVE_RUN}
    WHERE s.id = CAST(:session AS uuid) AND s.deleted_at IS NULL
    FOR NO KEY UPDATE OF s FOR SHARE OF m
""")

PREVIEWED = 200  # characters of a message that stand for a title

# The status of those that are shown only: who is in hundreds of sessions has nearly all of them left out here. The
# first message is looked up where there is no title only.
_PAGE = text(f"""
    SELECT {_COLUMNS.replace("m.role", "s.role")}, CASE s.title WHEN '' THEN (
        SELECT left(text, {PREVIEWED}) FROM messages WHERE session_id = s.id AND voided_seq IS NULL AND text <> ''
        ORDER BY seq LIMIT 1) END AS preview
    FROM (
        SELECT s.*, m.role FROM sessions s JOIN {_MEMBER}
        WHERE s.deleted_at IS NULL
          AND (CAST(:time AS timestamptz) IS NULL OR (s.updated_at, s.id) < (:time, CAST(:id AS uuid)))
        ORDER BY s.updated_at DESC, s.id DESC LIMIT :limit) AS s
    LEFT JOIN LATERAL (
        SELECT status FROM runs
        WHERE session_id = s.id AND status IN ('running', 'waiting', 'paused') LIMIT 1) AS r ON true
    ORDER BY s.updated_at DESC, s.id DESC
""")

_UPDATE = text("""
    UPDATE sessions SET title = coalesce(:title, title), metadata = coalesce(CAST(:metadata AS jsonb), metadata),
        on_busy = coalesce(:on_busy, on_busy), updated_at = clock_timestamp()
    WHERE id = CAST(:session AS uuid) AND deleted_at IS NULL
""")

_DELETE = text("""
    UPDATE sessions SET deleted_at = clock_timestamp() WHERE id = CAST(:session AS uuid) AND deleted_at IS NULL
""")

_ROLE = text("""
    SELECT m.role FROM members m JOIN sessions s ON s.id = m.session_id AND s.deleted_at IS NULL
    WHERE m.session_id = CAST(:session AS uuid) AND m.user_id = CAST(:user AS uuid)
""")

_LOCK = text("""
    SELECT title, team, on_busy, last_seq FROM sessions
    WHERE id = CAST(:session AS uuid) AND deleted_at IS NULL
    FOR NO KEY UPDATE
""")


@dataclass(frozen=True, slots=True)
class LockedSession:
    """What holds until the end of the transaction that locked the session."""

    title: str
    team: str
    on_busy: OnBusy
    last_seq: int


async def create(
    db: Db,
    *,
    id: SessionId,
    title: str,
    team: str,
    on_busy: OnBusy,
    metadata: Mapping[str, object],
    owner: UserId,
    org: OrganisationId | None = None,
    forked_from: ForkedFrom | None = None,
) -> None:
    """Insert a session with an empty log and its first member, in this organisation or else the owner's own.

    Raises `Forbidden` when the owner may not open sessions there.
    """
    made = await db.execute(
        _CREATE,
        {
            "id": id,
            "title": title,
            "team": team,
            "on_busy": on_busy.value,
            "metadata": json.dumps(dict(metadata)),
            "owner": owner,
            "org": org,
            "forked_from": forked_from.session if forked_from is not None else None,
            "forked_at_seq": forked_from.at_seq if forked_from is not None else None,
        },
    )
    if not made.rowcount:
        raise Forbidden(NO_MEMBER)
    await db.execute(_FIRST_MEMBER, {"id": id, "owner": owner})


async def owned(db: Db, user: UserId, *, most: int) -> int:
    """How many sessions this user owns, counted up to `most`."""
    found: int = (await db.execute(_OWNED, {"user": user, "most": most})).scalar_one()
    return found


async def get(db: Db, session: SessionId, user: UserId | None = None, *, lock: bool = False) -> Session | None:
    """The session as this user sees it: with `role` None when they are not a member. None when it is unknown or
    deleted.

    `lock` also does what `lock()` does, in the same round trip; then the answer is None for who is not a member, too,
    and all of it holds until the end of the transaction, but for `status`, which is from before any wait.
    """
    row = (await db.execute(_GET_LOCKED if lock else _GET, {"session": session, "user": user})).one_or_none()
    return session_of(row) if row is not None else None


async def page(db: Db, user: UserId, *, limit: int, cursor: str | None = None) -> tuple[list[Session], str | None]:
    """Sessions this user is a member of, the last changed first, and the cursor of the next page (None: no more).

    Raises `BadRequest` for a cursor that this function did not give.
    """
    time, id_ = pages.parse_time_and_id(cursor) if cursor is not None else (None, None)
    rows = (await db.execute(_PAGE, {"user": user, "time": time, "id": id_, "limit": limit + 1})).all()
    found = [replace(session_of(row), preview=row.preview) for row in rows]
    return pages.cut(found, limit, lambda last: pages.time_and_id(last.updated_at, last.id))


async def update(
    db: Db,
    session: SessionId,
    *,
    title: str | None = None,
    metadata: Mapping[str, object] | None = None,
    on_busy: OnBusy | None = None,
) -> bool:
    """Change what is not None. False when the session is unknown or deleted."""
    values = {
        "session": session,
        "title": title,
        "metadata": json.dumps(dict(metadata)) if metadata is not None else None,
        "on_busy": on_busy.value if on_busy is not None else None,
    }
    return bool((await db.execute(_UPDATE, values)).rowcount)


async def delete(db: Db, session: SessionId) -> bool:
    """Mark the session as deleted: from now on it is unknown to everybody. False when it was so already."""
    return bool((await db.execute(_DELETE, {"session": session})).rowcount)


async def role(db: Db, session: SessionId, user: UserId) -> Role | None:
    """The user's role in the session; None when they are not a member, or it is unknown or deleted."""
    found = (await db.execute(_ROLE, {"session": session, "user": user})).scalar_one_or_none()
    return Role(found) if found is not None else None


async def lock(db: Db, session: SessionId) -> LockedSession | None:
    """Keep others from writing in the session until this transaction ends; None when it is unknown or deleted.

    Whoever locks a run, too, locks the session first.
    """
    row = (await db.execute(_LOCK, {"session": session})).one_or_none()
    return LockedSession(row.title, row.team, OnBusy(row.on_busy), row.last_seq) if row is not None else None


def session_of(row: Any) -> Session:
    """The session in a row of `SELECT`."""
    return Session(
        id=SessionId(row.id),
        title=row.title,
        team=row.team,
        role=Role(row.role) if row.role is not None else None,
        status=SessionStatus(row.status),
        last_seq=row.last_seq,
        on_busy=OnBusy(row.on_busy),
        created_at=row.created_at,
        updated_at=row.updated_at,
        metadata=row.metadata,
        organisation=OrganisationId(row.org_id),
        forked_from=ForkedFrom(SessionId(row.forked_from), row.forked_at_seq) if row.forked_from else None,
    )
