"""Invites by link: whoever shows its token becomes a member."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hub.auth.policy import Action, require_scope
from hub.domain.errors import BadRequest, Conflict, NotFound
from hub.domain.ids import new_id, parse_id
from hub.domain.principal import Principal
from hub.domain.session import Role, Session
from hub.protocol.durable import MemberAddedData
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.relay.broadcast import Broadcast
from hub.sessions.access import reach, session_id
from hub.store import audit, invites, log, members, organisations, sessions
from hub.store.database import Db, Store
from hub.store.invites import Invite

PREFIX = "inv_"  # so that one that leaked is recognised by whoever looks for secrets
SECRET_BYTES = 32
DEFAULT_LIFETIME = timedelta(days=7)
MAX_LIFETIME = timedelta(days=30)
MAX_USES = 1_000
INVITES_PER_SESSION = 100


@dataclass(frozen=True, slots=True)
class NewInvite:
    """An invite that was just made: the only moment its token can be seen."""

    invite: Invite
    token: str


class Invites:
    """Makes, lists, ends and accepts invites. `address` is where the call comes from, for the audit trail."""

    def __init__(self, store: Store, broadcast: Broadcast) -> None:
        self._store = store
        self._broadcast = broadcast

    async def create(
        self,
        principal: Principal,
        session: str,
        *,
        role: Role,
        max_uses: int = 1,
        expires_at: datetime | None = None,
        address: str | None = None,
    ) -> NewInvite:
        """A link into the session for `max_uses` people. Raises `BadRequest` for the role of an owner, or a time out of
        bounds, and `Conflict` when the session has too many."""
        id_ = session_id(session)
        now = datetime.now(UTC)
        if role is Role.OWNER:
            raise BadRequest("a link makes nobody an owner: add them by name")
        if expires_at is not None and not now < expires_at <= now + MAX_LIFETIME:
            raise BadRequest(f"expires_at must lie in the next {MAX_LIFETIME.days} days")
        token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            found = await reach(db, principal, id_, Action.MANAGE_MEMBERS, lock=True)
            made = await invites.create(
                db,
                id=new_id(),
                session=id_,
                organisation=found.organisation,
                secret_hash=_hash(token),
                role=role,
                max_uses=max_uses,
                created_by=principal.user,
                expires_at=expires_at or now + DEFAULT_LIFETIME,
            )
            if await invites.count(db, id_) > INVITES_PER_SESSION:
                raise Conflict("the session has too many invites: end some", details={"most": INVITES_PER_SESSION})
            await audit.add(
                db,
                actor=principal.user,
                action="invite.create",
                object=f"session:{id_}",
                address=address,
                detail={"invite": made.id, "role": role.value, "max_uses": max_uses},
            )
        return NewInvite(made, token)

    async def page(
        self, principal: Principal, session: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Invite], str | None]:
        """The session's invites that let somebody in, newest first, and the cursor of the next page."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.MANAGE_MEMBERS)
            return await invites.page(db, id_, limit=limit, cursor=cursor)

    async def revoke(self, principal: Principal, session: str, invite: str, *, address: str | None = None) -> None:
        """Let nobody in by this invite any more; who came in by it stays. Raises `NotFound`."""
        id_, parsed = session_id(session), parse_id(invite)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.MANAGE_MEMBERS, lock=True)
            if parsed is None or not await invites.remove(db, id_, parsed):
                raise NotFound("no such invite")
            await audit.add(
                db,
                actor=principal.user,
                action="invite.revoke",
                object=f"session:{id_}",
                address=address,
                detail={"invite": parsed},
            )

    async def accept(self, principal: Principal, token: str, *, address: str | None = None) -> Session:
        """Become a member by a link; who is one already stays what they are, and uses nothing up.

        Raises `NotFound`, with the same words, for a token that was never given out and for one that lets nobody in any
        more: expired, used up, revoked, made by somebody who could not add members now, or for an organisation that the
        caller does not belong to and that has no guests.
        """
        require_scope(principal, Action.ACCEPT_INVITE)
        hash_ = _hash(token)
        async with self._store.statements() as db:  # the secret opens it, not a membership
            found = await invites.by_hash(db, hash_)
        if found is None:
            raise NotFound("no such invite")
        async with self._store.transaction(person=principal.user, also=found.organisation) as db:
            if await sessions.lock(db, found.session) is None:
                raise NotFound("no such invite")
            # As it is now that nobody else changes it: it may have been revoked or used up in the meantime.
            invite = await invites.by_hash(db, hash_)
            if invite is None:
                raise NotFound("no such invite")
            events = await self._let_in(db, principal, invite, address)
            session = await sessions.get(db, invite.session, principal.user)
            assert session is not None, "it is locked"
        self._broadcast.events(events)
        if events:
            self._broadcast.membership_changed(invite.session, principal.user)
        return session

    async def _let_in(self, db: Db, principal: Principal, invite: Invite, address: str | None) -> list[LoggedEvent]:
        if await sessions.role(db, invite.session, principal.user) is not None:
            return []
        if invite.uses >= invite.max_uses:
            raise NotFound("no such invite")
        if await organisations.admit(db, invite.session, principal.user) is None:
            raise NotFound("no such invite")
        await invites.use(db, invite.id)
        await members.put(db, invite.session, principal.user, invite.role)
        await audit.add(
            db,
            actor=principal.user,
            action="invite.accept",
            object=f"session:{invite.session}",
            address=address,
            detail={"invite": invite.id, "role": invite.role.value},
        )
        data = MemberAddedData(user=principal.user, name=principal.name, role=invite.role.value)
        return await log.append(db, invite.session, [NewEvent(data)])


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
