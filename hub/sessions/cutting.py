"""Changing what was said: the conversation is cut at a message and goes on from there."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.auth.policy import Action
from hub.domain.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge
from hub.domain.ids import MessageId, RunId, SessionId, new_id, parse_id
from hub.domain.principal import Principal
from hub.protocol.durable import MessageRedactedData, RunQueuedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.pieces import Person
from hub.protocol.results import SeqRunResult
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl, Stops
from hub.sessions.access import reach, session_id
from hub.sessions.run_caps import RunCaps
from hub.store import cutting, log, messages, sending
from hub.store.cutting import Target
from hub.store.database import Db, Store
from hub.store.sending import NewMessage

MAX_CUT = 2_000  # messages: each is an event in one transaction
REASON = "interrupted"  # of the runs that are ended


class Cutting:
    """Edits and second answers.

    Both void everything from some place on: runs that are live, or whose input is cut, are ended here and now, so that
    nothing of theirs can come after; the team is taken back to what it knew at the place. One transaction does it all.
    """

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl, caps: RunCaps) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control
        self._caps = caps

    async def edit(self, principal: Principal, session: str, message: str, text: str) -> SeqRunResult:
        """Put `text` in the place of a message of the caller's own, cut the conversation there and run again. What was
        attached to it stays.

        The same edit again gives the same answer and does nothing. Raises `BadRequest` for an agent's message,
        `Forbidden` for another user's, `Conflict` for one that is void, `TooLarge` when too much would be cut,
        `RateLimited` when as many runs are open as may be.
        """
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            found = await reach(db, principal, id_, Action.EDIT, lock=True)
            target = await _find(db, id_, message)
            again = target.replacement
            if again is not None and target.author == principal.user and again.text == text:
                return SeqRunResult(seq=again.seq, run=again.run)
            _must_count(target)
            if target.author is None:
                raise BadRequest("an agent's message cannot be edited; regenerate it")
            if target.author != principal.user:
                raise Forbidden("only its author may edit a message")
            place = target.place
            cut = await self._cut(db, principal, id_, place.seq, "edited")
            await self._caps.check(db, principal.user, found.organisation)  # what was cut has ended
            message_id = MessageId(new_id())
            new = NewMessage(
                id=message_id,
                run=RunId(new_id()),
                team=found.team,
                author=principal.user,
                author_name=principal.name,
                text=text,
                parts=[part for part in target.parts if part["type"] == "attachment"],
                client_id=message_id,
                to=place.to,
                replaces=place.message,
            )
            queued = RunQueuedData(input_seq=found.last_seq + len(cut.events) + 1)
            events = [*cut.events, new.created(), NewEvent(queued, new.run)]
            logged = await sending.send(db, id_, new, events, at=len(cut.events))
            await cut.void(db, logged)
        self._tell(logged, cut.stops)
        return SeqRunResult(seq=queued.input_seq, run=new.run)

    async def regenerate(self, principal: Principal, session: str, message: str) -> SeqRunResult:
        """Have the team answer again: `message` is the user's, or any of what agents said to it; all that was said
        after the user's message is cut. `seq` is that of `run.queued`.

        Raises `BadRequest` when no user's message was answered, `Conflict` for a message that is void, `TooLarge` when
        too much would be cut.
        """
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            found = await reach(db, principal, id_, Action.REGENERATE, lock=True)
            target = await _find(db, id_, message)
            _must_count(target)
            place = target.answered if target.author is None else target.place
            if place is None:
                raise BadRequest("this is not an answer to a message")
            cut = await self._cut(db, principal, id_, place.seq + 1, "regenerated")
            await self._caps.check(db, principal.user, found.organisation)
            run = RunId(new_id())
            queued = NewEvent(RunQueuedData(input_seq=place.seq), run)
            logged = await log.append(db, id_, [*cut.events, queued])
            await cutting.run_again(db, id_, place.message, run, principal.user)
            await cut.void(db, logged)
        self._tell(logged, cut.stops)
        return SeqRunResult(seq=logged[-1].seq, run=run)

    async def _cut(self, db: Db, principal: Principal, session: SessionId, seq: int, reason: str) -> "_Cut":
        """End what runs and take the team back to what it knew before `seq`."""
        cut = await cutting.said_from(db, session, seq, limit=MAX_CUT + 1)
        if len(cut) > MAX_CUT:
            raise TooLarge("too much was said since: fork the session there", details={"messages": MAX_CUT})
        stops = await self._control.end_from(db, session, seq, REASON)
        await cutting.take_back(db, session, seq)
        by = Person(id=principal.user, name=principal.name)
        redacted = [MessageRedactedData.model_validate({"message": m, "by": by, "reason": reason}) for m in cut]
        return _Cut(stops, cut, [*stops.events, *map(NewEvent, redacted)])

    def _tell(self, events: Sequence[LoggedEvent], stops: Stops) -> None:
        self._broadcast.events(events)
        self._control.announce(stops)
        self._control.wake()


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a cut came to: `events` say that runs have ended and, last, that the messages are void."""

    stops: Stops
    messages: Sequence[MessageId]
    events: Sequence[NewEvent]

    async def void(self, db: Db, logged: Sequence[LoggedEvent]) -> None:
        """Void the messages; `logged` begins with the cut's events."""
        first = len(self.events) - len(self.messages)
        seqs = [event.seq for event in logged[first : len(self.events)]]
        await messages.void(db, logged[0].session, list(zip(self.messages, seqs, strict=True)))


async def _find(db: Db, session: SessionId, message: str) -> Target:
    parsed = parse_id(message)
    target = await cutting.find(db, session, MessageId(parsed)) if parsed is not None else None
    if target is None:
        raise NotFound("no such message")
    return target


def _must_count(target: Target) -> None:
    if target.is_void:
        raise Conflict("the message is not part of the conversation any more")
