"""What the runs of a session wait for a person to say, and saying it."""

from hub.auth.policy import Action
from hub.domain.calls import Decision, InputRequest, RequestKind, Resolution
from hub.domain.errors import BadRequest, Conflict, NotFound
from hub.domain.ids import RequestId, parse_id
from hub.domain.principal import Principal
from hub.protocol.events import Person
from hub.protocol.results import SeqResult
from hub.relay.broadcast import Broadcast
from hub.runs import answers
from hub.runs.control import RunControl
from hub.sessions.access import reach, session_id
from hub.store import input_requests
from hub.store.database import Store


class Inputs:
    """Open requests and their answers."""

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control

    async def page(
        self, principal: Principal, session: str, *, limit: int, cursor: str | None
    ) -> tuple[list[InputRequest], str | None]:
        """What waits for an answer, oldest first, and the cursor of the next page."""
        id_ = session_id(session)
        async with self._store.transaction() as db:
            await reach(db, principal, id_, Action.READ)
            return await input_requests.open_page(db, id_, limit=limit, cursor=cursor)

    async def respond(
        self, principal: Principal, session: str, request: str, *, decision: Decision | None, text: str | None
    ) -> SeqResult:
        """Answer a request; once it returns, the answer is durable and the run goes on when nothing else is open.

        An approval and a retry need a decision, a question needs `text` or is rejected. The same answer again gives the
        same result. Raises `Conflict` for another answer, and when the request has expired or its run has ended.
        """
        id_ = session_id(session)
        async with self._store.transaction() as db:
            await reach(db, principal, id_, Action.RESPOND, lock=True)
            parsed = parse_id(request)
            asked = await input_requests.get(db, id_, RequestId(parsed)) if parsed is not None else None
            if asked is None:
                raise NotFound("no such request")
            _check(asked.request.kind, decision, text)
            if asked.resolution is not None:
                return _again(asked.request.kind, asked.resolution, decision, text)
            if asked.run_status.is_terminal:
                raise Conflict("the run has ended", details={"reason": "run_ended"})
            if asked.expired:
                raise Conflict("the request has expired", details={"reason": "expired"})
            by = Person(id=principal.user, name=principal.name)
            events = await answers.resolve(db, asked.request, decision, text, by)
        self._broadcast.events(events)
        self._control.wake()
        return SeqResult(seq=events[0].seq)


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
