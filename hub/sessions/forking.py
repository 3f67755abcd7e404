"""A new session that begins with another one's conversation."""

from hub.auth.policy import Action
from hub.domain.errors import BadRequest
from hub.domain.ids import SessionId, new_id
from hub.domain.principal import Principal
from hub.domain.session import ForkedFrom, Session
from hub.protocol.durable import MemberAddedData
from hub.protocol.frames import NewEvent
from hub.protocol.results import session_created
from hub.sessions.access import reach, seen_by, session_id
from hub.sessions.attachments import too_large
from hub.sessions.session_caps import SessionCaps
from hub.store import attachments, audit, forking, log, sessions
from hub.store.database import Db, Store
from hub.store.forking import Fork


class Forking:
    """Forks of sessions, at any place of their log. `user_bytes` is how much of attachments a user may be charged for:
    who forks is, for the copies."""

    def __init__(self, store: Store, *, user_bytes: int, caps: SessionCaps) -> None:
        self._store = store
        self._caps = caps
        self._user_bytes = user_bytes

    async def fork(self, principal: Principal, session: str, at_seq: int) -> Session:
        """A new session of the caller's with the same team, whose log holds the messages that counted at `at_seq`; the
        agents know exactly these. It belongs to the same organisation.

        Raises `Forbidden` for guests of the organisation, `BadRequest` for a place that the session has not reached,
        `Conflict` when the caller owns, or the organisation has, as many sessions as may be, and `TooLarge` when they
        have no room for its attachments.
        """
        source = session_id(session)
        id_ = SessionId(new_id())
        async with self._store.transaction(person=principal.user, session=source) as db:
            found = await reach(db, principal, source, Action.FORK)
            if at_seq > found.last_seq:
                raise BadRequest("at_seq is in the future", details={"last_seq": found.last_seq})
            await self._caps.check(db, principal.user)
            await self._open(db, principal, found, at_seq, id_)
            await self._caps.check_organisation(db, found.organisation)
            fork = await forking.begin(db, source, at_seq, id_)
            has_attachments = await attachments.any_in(db, source)
            after = await forking.copy(db, fork, 0)
            if after is None and not has_attachments:
                await forking.show(db, fork)
                return await seen_by(db, principal, id_)
            await forking.hide(db, fork)
        return await self._rest(principal, fork, after)

    async def _open(self, db: Db, principal: Principal, source: Session, at_seq: int, id_: SessionId) -> None:
        await sessions.create(
            db,
            id=id_,
            title=source.title,
            team=source.team,
            on_busy=source.on_busy,
            metadata=source.metadata,
            owner=principal.user,
            org=source.organisation,
            forked_from=ForkedFrom(source.id, at_seq),
        )
        created = await seen_by(db, principal, id_)
        owner = MemberAddedData(user=principal.user, name=principal.name, role="owner")
        await log.append(db, id_, [NewEvent(session_created(created, last_seq=2)), NewEvent(owner)])
        await audit.add(
            db,
            actor=principal.user,
            action="session.fork",
            object=f"session:{id_}",
            address=principal.address,
            detail={"from": source.id, "at_seq": at_seq},
        )

    async def _rest(self, principal: Principal, fork: Fork, after: int | None) -> Session:
        while after is not None:
            async with self._store.transaction(person=principal.user, session=fork.source) as db:
                after = await forking.copy(db, fork, after)
        await self._copy_attachments(principal, fork)
        async with self._store.transaction(person=principal.user) as db:
            await forking.show(db, fork)
            return await seen_by(db, principal, fork.fork)

    async def _copy_attachments(self, principal: Principal, fork: Fork) -> None:
        async with self._store.transaction(person=principal.user, session=fork.source) as db:
            copied = await attachments.fork(db, fork.source, fork.fork, principal.user)
            if copied and await attachments.charged(db, principal.user) > self._user_bytes:
                raise too_large("user_quota", self._user_bytes)
        more = bool(copied)
        while more:
            async with self._store.transaction(person=principal.user, session=fork.source) as db:
                more = await attachments.fork_content(db, fork.source, fork.fork)
