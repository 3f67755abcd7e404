"""What the runs of a session wait for a person to say, and saying it."""

import orjson

from hub.auth.policy import Action, require_role
from hub.domain.calls import Approval, Decision, InputRequest, RequestKind, Resolution
from hub.domain.errors import BadRequest, Conflict, Forbidden, NotFound
from hub.domain.ids import RequestId, parse_id
from hub.domain.principal import Principal
from hub.domain.session import Role
from hub.domain.team import TAKE_TURN
from hub.protocol.pieces import Person
from hub.protocol.results import SeqResult
from hub.relay.broadcast import Broadcast
from hub.runs import answers
from hub.runs.control import RunControl
from hub.sessions.access import reach, reached, session_id
from hub.store import input_requests
from hub.store.database import Store

OWN_REQUEST = {"reason": "own_request"}


class Inputs:
    """Open requests and their answers."""

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control

    async def page(
        self, principal: Principal, session: str, *, limit: int, cursor: str | None
    ) -> tuple[list[tuple[InputRequest, list[Approval]]], str | None]:
        """What waits for an answer, oldest first, with the yeses it has, and the cursor of the next page."""
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            found, following = await input_requests.open_page(db, id_, limit=limit, cursor=cursor)
            reached(db, principal, Action.READ)
            yeses = await input_requests.approvals(db, found)
            return [(request, yeses[request.id]) for request in found], following

    async def respond(
        self,
        principal: Principal,
        session: str,
        request: str,
        *,
        decision: Decision | None,
        text: str | None,
        arguments_sha256: str | None = None,
    ) -> SeqResult:
        """Answer a request; once it returns, the answer is durable and the run goes on when nothing else is open.

        An approval and a retry need a decision, a question needs `text` or is rejected. Where several have to approve,
        it goes on with the last of them, and ends with the first who rejects. The same answer again gives the same
        result. Raises `Conflict` for another answer, for other arguments than those of `arguments_sha256`, and when the
        request has expired or its run has ended; `Forbidden` for the approval of who may not give it.
        """
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            found = await reach(db, principal, id_, Action.RESPOND, lock=True)
            parsed = parse_id(request)
            asked = await input_requests.get(db, id_, RequestId(parsed)) if parsed is not None else None
            if asked is None:
                raise NotFound("no such request")
            if asked.request.tool == TAKE_TURN:
                _check_turn(asked.request, principal, found.role)
            _check(asked.request.kind, decision, text)
            if arguments_sha256 not in (None, asked.request.arguments_sha256.hex()):
                raise Conflict("it is about other arguments", details={"reason": "changed"})
            yeses = (await input_requests.approvals(db, [asked.request]))[asked.request.id]
            own = next((yes for yes in yeses if yes.user == principal.user), None)
            if own is not None and decision is Decision.APPROVE:
                return SeqResult(seq=own.seq)
            if asked.resolution is not None:
                return _again(asked.request.kind, asked.resolution, decision, text)
            if asked.run_status.is_terminal:
                raise Conflict("the run has ended", details={"reason": "run_ended"})
            if asked.expired:
                raise Conflict("the request has expired", details={"reason": "expired"})
            by = Person(id=principal.user, name=principal.name)
            if decision is Decision.APPROVE and asked.request.kind is not RequestKind.QUESTION:
                if asked.request.not_by == principal.user:
                    raise Forbidden("somebody else has to approve what you have asked for", details=OWN_REQUEST)
                events, resolved = await answers.approve(db, asked.request, text, by, yeses)
            else:
                events, resolved = await answers.resolve(db, asked.request, decision, text, by), True
        self._broadcast.events(events)
        if resolved:
            self._control.wake()
        return SeqResult(seq=events[0].seq)


def _check_turn(request: InputRequest, principal: Principal, role: Role | None) -> None:
    """A person's turn is theirs whom its place names, or any editor's. Raises `Forbidden`."""
    user = orjson.loads(request.arguments).get("user")
    if user is None:
        require_role(role, Action.SEND)
    elif principal.name != user:
        raise Forbidden("this turn is somebody else's", details={"user": user})


def _check(kind: RequestKind, decision: Decision | None, text: str | None) -> None:
    if kind is not RequestKind.QUESTION and decision is None:
        raise BadRequest("a decision is needed: approve or reject")
    if kind is RequestKind.QUESTION and decision is not Decision.REJECT and text is None:
        raise BadRequest("a text is needed: the answer to the question")


def _again(kind: RequestKind, known: Resolution, decision: Decision | None, text: str | None) -> SeqResult:
    if known.by is None:
        raise Conflict("the request has expired", details={"reason": "expired"})
    same = decision is known.decision and (kind is not RequestKind.QUESTION or text == known.text)
    if not same:
        raise Conflict("it was answered differently before", details={"reason": "answered", "seq": known.seq})
    return SeqResult(seq=known.seq)
