"""Tool calls at which the newest turn of a session stands: what a checkpoint that awaits their results cannot say.

They are there until the session's next checkpoint holds what came of them, also when their run has ended before that.
"""

from collections.abc import Sequence

from sqlalchemy import text

from hub.domain.calls import Call, CallStatus
from hub.domain.ids import CallId, RunId, SessionId
from hub.store.database import Db

_FORGET = text("DELETE FROM tool_calls WHERE session_id = CAST(:session AS uuid)")

_INSERT = text("""
    INSERT INTO tool_calls (slot, session_id, run_id, turn, position, call_id, agent, tool, arguments, status, result,
                            is_error)
    SELECT c.slot, CAST(:session AS uuid), CAST(:run AS uuid), CAST(:turn AS int), c.position, c.slot, c.agent, c.tool,
           c.arguments, c.status, c.result, c.is_error
    FROM unnest(CAST(:slots AS uuid[]), CAST(:agents AS text[]), CAST(:tools AS text[]), CAST(:arguments AS text[]),
                CAST(:statuses AS text[]), CAST(:results AS text[]), CAST(:errors AS bool[]))
        WITH ORDINALITY AS c(slot, agent, tool, arguments, status, result, is_error, position)
""")

_OF_SESSION = text("""
    SELECT c.slot::text, c.call_id::text, c.run_id::text, c.turn, c.agent, c.tool, c.arguments, c.status, c.result,
           c.is_error, allowed.arguments_sha256
    FROM tool_calls c
    LEFT JOIN LATERAL (
        SELECT arguments_sha256 FROM input_requests
        WHERE session_id = c.session_id AND slot = c.slot AND kind = 'approval' AND decision = 'approve') AS allowed
        ON true
    WHERE c.session_id = CAST(:session AS uuid)
    ORDER BY c.position
""")

_SET = text("""
    UPDATE tool_calls SET status = :status, call_id = coalesce(CAST(:id AS uuid), call_id), result = :result,
        is_error = :is_error
    WHERE slot = CAST(:slot AS uuid)
""")


async def replace(db: Db, session: SessionId, calls: Sequence[Call]) -> None:
    """Record the calls that a new checkpoint of the session awaits, all of one turn; those of the one before it are
    forgotten."""
    await forget(db, session)
    await db.execute(
        _INSERT,
        {
            "session": session,
            "run": calls[0].run,
            "turn": calls[0].turn,
            "slots": [call.slot for call in calls],
            "agents": [call.agent for call in calls],
            "tools": [call.tool for call in calls],
            "arguments": [call.arguments for call in calls],
            "statuses": [call.status.value for call in calls],
            "results": [call.result for call in calls],
            "errors": [call.is_error for call in calls],
        },
    )


async def forget(db: Db, session: SessionId) -> None:
    """A new checkpoint of the session holds what its calls came to."""
    await db.execute(_FORGET, {"session": session})


async def of_session(db: Db, session: SessionId) -> list[Call]:
    """The calls that the newest checkpoint of the session awaits, in the order they were asked for."""
    return [
        Call(
            slot=row.slot,
            id=CallId(row.call_id),
            run=RunId(row.run_id),
            turn=row.turn,
            agent=row.agent,
            tool=row.tool,
            arguments=row.arguments,
            status=CallStatus(row.status),
            result=row.result,
            is_error=row.is_error,
            allowed_sha256=row.arguments_sha256,
        )
        for row in await db.execute(_OF_SESSION, {"session": session})
    ]


async def allow(db: Db, slot: str, *, again: CallId | None = None) -> None:
    """The call may be made; `again` is its new id when it was made before."""
    await _set(db, slot, CallStatus.READY, id=again)


async def ask(db: Db, slot: str) -> None:
    """Nobody knows what came of the call: a person is to decide."""
    await _set(db, slot, CallStatus.ASKED)


async def begin(db: Db, slot: str) -> None:
    """The call is about to be made."""
    await _set(db, slot, CallStatus.CALLED)


async def finish(db: Db, slot: str, result: str, *, is_error: bool) -> None:
    """What came of the call, or is to be told instead."""
    await _set(db, slot, CallStatus.DONE, result=result, is_error=is_error)


async def _set(
    db: Db,
    slot: str,
    status: CallStatus,
    *,
    id: CallId | None = None,
    result: str | None = None,
    is_error: bool = False,
) -> None:
    await db.execute(_SET, {"slot": slot, "status": status.value, "id": id, "result": result, "is_error": is_error})
