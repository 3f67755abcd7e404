"""Results of tool calls that are too large for an event: whole, by the call's id."""

from dataclasses import dataclass

from sqlalchemy import text

from hub.domain.ids import CallId, SessionId
from hub.domain.run import Lease
from hub.store.database import Db

_KEEP = text("""
    INSERT INTO tool_results (call_id, session_id, tool, result)
    VALUES (CAST(:call AS uuid), CAST(:session AS uuid), :tool, :result)
    ON CONFLICT (call_id) DO NOTHING
""")

_GET = text("""
    SELECT tool, result FROM tool_results
    WHERE call_id = CAST(:call AS uuid) AND session_id = CAST(:session AS uuid)
""")


@dataclass(frozen=True, slots=True)
class LargeResult:
    """What a call of a tool came to."""

    call: CallId
    tool: str
    result: str


async def keep(db: Db, lease: Lease, call: CallId, tool: str, result: str) -> None:
    """Keep a result as long as its session is there, beside the event of it, in the same transaction."""
    await db.execute(_KEEP, {"call": call, "session": lease.session, "tool": tool, "result": result})


async def get(db: Db, session: SessionId, call: CallId) -> LargeResult | None:
    """A result that was kept for a call of this session."""
    row = (await db.execute(_GET, {"session": session, "call": call})).one_or_none()
    return LargeResult(call, row.tool, row.result) if row is not None else None
