"""What runs have asked people, and what was answered. A request is open until it is resolved or its run has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from hub.domain.calls import Approval, Decision, InputRequest, RequestKind, Resolution
from hub.domain.ids import CallId, RequestId, RunId, SessionId, UserId
from hub.domain.run import RunStatus
from hub.store import pages
from hub.store.database import Db

_COLUMNS = """
    q.id::text, q.session_id::text, q.run_id::text, q.turn, q.kind, q.agent, q.prompt, q.call_id::text, q.slot::text,
    q.tool, q.arguments, q.arguments_sha256, q.created_at, q.expires_at, q.approvers, q.not_by::text
"""
_LIVE = "r.status IN ('running', 'waiting', 'paused')"

_NOW = text("SELECT clock_timestamp()")

_INSERT = text("""
    INSERT INTO input_requests (id, session_id, run_id, turn, kind, agent, prompt, call_id, slot, tool, arguments,
                                arguments_sha256, created_at, expires_at, approvers, not_by)
    SELECT q.id, CAST(:session AS uuid), CAST(:run AS uuid), CAST(:turn AS int), q.kind, q.agent, q.prompt, q.call_id,
           q.slot, q.tool, q.arguments, q.sha256, q.created_at, q.expires_at, q.approvers, q.not_by
    FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:agents AS text[]), CAST(:prompts AS text[]),
                CAST(:calls AS uuid[]), CAST(:slots AS uuid[]), CAST(:tools AS text[]), CAST(:arguments AS text[]),
                CAST(:digests AS bytea[]), CAST(:created AS timestamptz[]), CAST(:expires AS timestamptz[]),
                CAST(:approvers AS int[]), CAST(:not_by AS uuid[]))
        AS q(id, kind, agent, prompt, call_id, slot, tool, arguments, sha256, created_at, expires_at, approvers, not_by)
""")

_GET = text(f"""
    SELECT {_COLUMNS}, q.resolved_seq, q.decision, q.answer, q.resolved_by::text, r.status AS run_status,
           q.expires_at <= clock_timestamp() AS expired
    FROM input_requests q JOIN runs r ON r.id = q.run_id
    WHERE q.id = CAST(:request AS uuid) AND q.session_id = CAST(:session AS uuid)
""")

_OPEN = text(f"""
    SELECT {_COLUMNS} FROM input_requests q JOIN runs r ON r.id = q.run_id AND {_LIVE}
    WHERE q.session_id = CAST(:session AS uuid) AND q.resolved_at IS NULL
      AND (CAST(:time AS timestamptz) IS NULL OR (q.created_at, q.id) > (:time, CAST(:id AS uuid)))
    ORDER BY q.created_at, q.id LIMIT :limit
""")

_EXPIRED = text(f"""
    SELECT {_COLUMNS} FROM input_requests q JOIN runs r ON r.id = q.run_id AND {_LIVE}
    WHERE q.resolved_at IS NULL AND q.expires_at <= clock_timestamp()
    ORDER BY q.expires_at LIMIT :limit
""")

_RESOLVE = text("""
    UPDATE input_requests
    SET resolved_at = clock_timestamp(), resolved_seq = :seq, decision = :decision, answer = :answer,
        resolved_by = CAST(:by AS uuid)
    WHERE id = CAST(:request AS uuid) AND resolved_at IS NULL
""")


_APPROVE = text("""
    INSERT INTO input_approvals (request_id, user_id, seq) VALUES (CAST(:request AS uuid), CAST(:user AS uuid), :seq)
""")

# Only of those who might still give them.
_APPROVALS = text("""
    SELECT a.request_id::text AS request, a.user_id::text AS user, u.name, a.seq FROM input_approvals a
    JOIN input_requests q ON q.id = a.request_id
    JOIN members m ON m.session_id = q.session_id AND m.user_id = a.user_id AND m.role <> 'viewer'
    JOIN users u ON u.id = a.user_id AND u.disabled_at IS NULL
    WHERE a.request_id = ANY(CAST(:requests AS uuid[]))
    ORDER BY a.seq
""")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with what has become of it. `expired`: its time is over, whether or not that was noticed."""

    request: InputRequest
    resolution: Resolution | None
    run_status: RunStatus
    expired: bool


async def now(db: Db) -> datetime:
    """The database's time, by which requests expire."""
    time: datetime = (await db.execute(_NOW)).scalar_one()
    return time


async def insert(db: Db, requests: Sequence[InputRequest]) -> None:
    """Record what one turn of a run asks."""
    if not requests:
        return
    await db.execute(
        _INSERT,
        {
            "session": requests[0].session,
            "run": requests[0].run,
            "turn": requests[0].turn,
            "ids": [request.id for request in requests],
            "kinds": [request.kind.value for request in requests],
            "agents": [request.agent for request in requests],
            "prompts": [request.prompt for request in requests],
            "calls": [request.call for request in requests],
            "slots": [request.slot for request in requests],
            "tools": [request.tool for request in requests],
            "arguments": [request.arguments for request in requests],
            "digests": [request.arguments_sha256 for request in requests],
            "created": [request.created_at for request in requests],
            "expires": [request.expires_at for request in requests],
            "approvers": [request.approvers for request in requests],
            "not_by": [request.not_by for request in requests],
        },
    )


async def get(db: Db, session: SessionId, request: RequestId) -> Asked | None:
    """A request of this session, open or not."""
    row = (await db.execute(_GET, {"session": session, "request": request})).one_or_none()
    if row is None:
        return None
    resolution = None
    if row.resolved_seq is not None:
        decision = Decision(row.decision) if row.decision is not None else None
        resolution = Resolution(row.resolved_seq, decision, row.answer, row.resolved_by)
    return Asked(_request_of(row), resolution, RunStatus(row.run_status), row.expired)


async def open_page(
    db: Db, session: SessionId, *, limit: int, cursor: str | None = None
) -> tuple[list[InputRequest], str | None]:
    """What the session waits for, oldest first, and the cursor of the next page. `BadRequest` for a foreign cursor."""
    time, id_ = pages.parse_time_and_id(cursor) if cursor is not None else (None, None)
    rows = await db.execute(_OPEN, {"session": session, "time": time, "id": id_, "limit": limit + 1})
    return pages.cut(
        [_request_of(row) for row in rows], limit, lambda last: pages.time_and_id(last.created_at, last.id)
    )


async def expired(db: Db, *, limit: int) -> list[InputRequest]:
    """Open requests whose time is over, the oldest first."""
    return [_request_of(row) for row in await db.execute(_EXPIRED, {"limit": limit})]


async def approve(db: Db, request: RequestId, user: UserId, seq: int) -> None:
    """Record one of several yeses. `Conflict` when this user has given it before."""
    await db.execute(_APPROVE, {"request": request, "user": user, "seq": seq})


async def approvals(db: Db, requests: Sequence[InputRequest]) -> dict[RequestId, list[Approval]]:
    """The yeses that these requests have and that count, in the order they came: of those who may still answer in the
    session."""
    found: dict[RequestId, list[Approval]] = {request.id: [] for request in requests}
    several = [request.id for request in requests if request.approvers > 1]
    if several:
        for row in await db.execute(_APPROVALS, {"requests": several}):
            found[RequestId(row.request)].append(Approval(UserId(row.user), row.name, row.seq))
    return found


async def resolve(db: Db, request: RequestId, resolution: Resolution) -> bool:
    """Close a request. False when it was closed already."""
    values = {
        "request": request,
        "seq": resolution.seq,
        "decision": resolution.decision.value if resolution.decision is not None else None,
        "answer": resolution.text,
        "by": resolution.by,
    }
    return bool((await db.execute(_RESOLVE, values)).rowcount)


def _request_of(row: Any) -> InputRequest:
    return InputRequest(
        id=RequestId(row.id),
        session=SessionId(row.session_id),
        run=RunId(row.run_id),
        turn=row.turn,
        kind=RequestKind(row.kind),
        agent=row.agent,
        prompt=row.prompt,
        call=CallId(row.call_id),
        slot=row.slot,
        tool=row.tool,
        arguments=row.arguments,
        arguments_sha256=row.arguments_sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        approvers=row.approvers,
        not_by=row.not_by,
    )
