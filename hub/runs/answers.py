"""What people answer to a run that waits for them, and what it does then."""

from collections.abc import Sequence

from hub.domain.calls import Approval, Decision, InputRequest, RequestKind, Resolution
from hub.domain.ids import CallId, UserId, new_id
from hub.protocol.durable import InputApprovedData, InputResolvedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.pieces import Person
from hub.runs.requests import UNKNOWN_OUTCOME
from hub.runs.turn import tool_returned
from hub.store import calls, input_requests, log, runs
from hub.store.database import Db

HUB = Person(id="hub", name="hub")
"""Who resolves what nobody has answered in time."""

EXPIRED = "expired"


async def resolve(
    db: Db,
    request: InputRequest,
    decision: Decision | None,
    text: str | None,
    by: Person,
    approved_by: Sequence[Person] = (),
) -> list[LoggedEvent]:
    """Answer an open request, in the caller's transaction, which has locked the session. Gives the events to publish;
    the first is the answer's. `approved_by` are all who have approved, when it took several.

    When nothing else is open, the run can be claimed again; the caller wakes runners once this is committed.
    """
    data = InputResolvedData(
        request=request.id, decision=_wire(decision), text=text, by=by, approved_by=list(approved_by) or None
    )
    told = [NewEvent(data, request.run)]
    if request.kind is RequestKind.RETRY and decision is not Decision.APPROVE:
        told.append(NewEvent(tool_returned(request.call, request.tool, UNKNOWN_OUTCOME, is_error=True), request.run))
    events = await log.append(db, request.session, told)
    answer = Resolution(events[0].seq, decision, text, None if by is HUB else by.id)
    await input_requests.resolve(db, request.id, answer)
    match request.kind:
        case RequestKind.APPROVAL | RequestKind.RETRY if decision is Decision.APPROVE:
            again = CallId(new_id()) if request.kind is RequestKind.RETRY else None
            await calls.allow(db, request.slot, again=again)
        case RequestKind.APPROVAL:
            await calls.finish(db, request.slot, _refusal("Nobody allowed this call", text, by), is_error=True)
        case RequestKind.RETRY:
            await calls.finish(db, request.slot, UNKNOWN_OUTCOME, is_error=True)
        case RequestKind.QUESTION if decision is not Decision.REJECT and text is not None:
            await calls.finish(db, request.slot, text, is_error=False)
        case RequestKind.QUESTION:
            await calls.finish(db, request.slot, _refusal("Nobody answered", text, by), is_error=True)
    await runs.unblock(db, request.run)
    return events


async def approve(
    db: Db, request: InputRequest, text: str | None, by: Person, so_far: Sequence[Approval]
) -> tuple[list[LoggedEvent], bool]:
    """One more yes, in the caller's transaction, which has locked the session. Gives the events to publish, the first
    is the yes's, and whether the request is resolved by it."""
    approvals = len(so_far) + 1
    if approvals >= request.approvers:
        everybody = [*(Person(id=one.user, name=one.name) for one in so_far), by]
        told = everybody if request.approvers > 1 else ()
        return await resolve(db, request, Decision.APPROVE, text, by, told), True
    data = InputApprovedData(request=request.id, text=text, by=by, approvals=approvals, approvers=request.approvers)
    events = await log.append(db, request.session, [NewEvent(data, request.run)])
    await input_requests.approve(db, request.id, UserId(by.id), events[0].seq)
    return events, False


def _refusal(what: str, text: str | None, by: Person) -> str:
    if by is HUB:
        return f"{what} in time."
    return f"{what}: {by.name} refused." if text is None else f"{what}: {by.name} refused, and said: {text}"


def _wire(decision: Decision | None) -> str | None:
    return decision.value if decision is not None else None
