"""Erasing people from the sessions they were in, in the background: whoever asks is told when nobody is them any more,
and what they said goes right after."""

from collections.abc import Mapping

from hub.domain.errors import NotFound
from hub.domain.ids import SessionId, UserId
from hub.protocol.durable import MemberRemovedData, MessageRedactedData
from hub.protocol.frames import NewEvent
from hub.protocol.pieces import Person
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl
from hub.sessions.backlog import Backlog
from hub.sessions.closing import close
from hub.store import audit, cutting, erasing, log, members, messages, runs, sessions
from hub.store.database import Db, Store
from hub.store.erasing import ERASED, EVENTS_AT_ONCE

REASON = "user erased"
HUB = Person(id="hub", name="hub")


class Erasure:
    """Takes away what people were and said. `backlog` is told whom, once they are buried."""

    def __init__(self, store: Store, broadcast: Broadcast, control: RunControl) -> None:
        self._store = store
        self._broadcast = broadcast
        self._control = control
        self.backlog = Backlog[UserId]("erasure", "user", self.erase, self._left)
        self.erased = 0  # users that this worker has come to the end with

    async def erase(self, user: UserId) -> None:
        """Take everything of this buried user away. Raises `Unavailable`; it may be begun anew at any time."""
        after: SessionId | None = None
        while True:
            async with self._store.statements() as db:
                found = await erasing.sessions(db, user, after=after)
            for session in found:
                await self._in_session(session, user)
            if not found:
                break
            after = found[-1]
        more = True
        while more:
            async with self._store.transaction() as db:
                more = await erasing.empty_rest(db, user)
        async with self._store.transaction() as db:
            if await erasing.end(db, user):
                await audit.add(db, actor=None, action="user.erased", object=f"user:{user}")
                self.erased += 1

    async def purge(self, session: SessionId) -> None:
        """Remove what is left of a deleted session."""
        more = True
        while more:
            async with self._store.transaction() as db:
                more = await erasing.purge(db, session)

    async def _left(self, age_s: float) -> list[UserId]:
        async with self._store.statements() as db:
            return await erasing.pending(db, age_s=age_s)

    async def _in_session(self, session: SessionId, user: UserId) -> None:
        async with self._store.statements() as db:
            state = await erasing.is_theirs(db, session, user)
        if state is None:
            return
        deleted, alone = state
        if not deleted and alone:
            await self.delete(session, {"erased": user})
        if deleted or alone:
            await self.purge(session)
            return
        more = True
        while more:
            more = await self._take_words(session, user)
        more = True
        while more:
            async with self._store.transaction() as db:
                more = await erasing.drop_attachments(db, session, user)
        async with self._store.statements() as db:
            end = await erasing.last_seq(db, session)
            await erasing.empty_answers(db, session, user)
            for after in range(0, end, EVENTS_AT_ONCE):
                await erasing.empty_events(db, session, user, after=after)

    async def delete(self, session: SessionId, detail: Mapping[str, object], reason: str = REASON) -> None:
        """Close a session for everybody, as its owner would; `reason` is what its runs end for, `detail` is for the
        audit trail."""
        try:
            async with self._store.transaction(lock=session) as db:
                closed = await close(db, self._control, session, reason)
                await audit.add(db, actor=None, action="session.delete", object=f"session:{session}", detail=detail)
        except NotFound:  # somebody has deleted it meanwhile
            return
        closed.tell(self._broadcast, self._control)

    async def _take_words(self, session: SessionId, user: UserId) -> bool:
        """Take the user out, and some of what they said; whether there may be more.

        What runs ends in the same transaction, whoever has asked for it, for it knows what is taken out: so no
        checkpoint is written afterwards that holds it.
        """
        try:
            async with self._store.transaction(lock=session) as db:
                left = await members.remove(db, session, user)
                counted, more = await erasing.empty_messages(db, session, user)
                if left is None and not counted and not more:
                    return False
                locked = await sessions.lock(db, session)
                if locked is None:
                    return False
                stops = await self._control.end_from(db, session, locked.last_seq + 1, REASON)
                events = [*stops.events, *await self._stop_queued(db, session, user)]
                redacted = [MessageRedactedData(message=m, by=HUB, reason="erased") for m in counted]
                if left is not None:
                    events.append(NewEvent(MemberRemovedData(user=user, name=ERASED, role=left.role.value)))
                logged = (
                    await log.append(db, session, [*events, *map(NewEvent, redacted)]) if events or redacted else []
                )
                seqs = [event.seq for event in logged[len(events) :]]
                await messages.void(db, session, list(zip(counted, seqs, strict=True)))
                await erasing.forget(db, session)
                await cutting.take_back(db, session, locked.last_seq + 1)
        except NotFound:  # deleted meanwhile
            return False
        self._broadcast.events(logged)
        self._control.announce(stops)
        self._control.wake()
        self._broadcast.membership_changed(session, user)
        return more

    async def _stop_queued(self, db: Db, session: SessionId, user: UserId) -> list[NewEvent]:
        events: list[NewEvent] = []
        for id_ in await erasing.queued(db, session, user):
            run = await runs.get(db, id_)
            if run is not None:
                events += (await self._control.stop(db, run, REASON)).events
        return events
