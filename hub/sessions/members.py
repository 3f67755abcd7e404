"""Who belongs to a session, and as what."""

from collections.abc import Sequence

from hub.auth.policy import Action
from hub.domain.errors import Conflict, NotFound
from hub.domain.ids import SessionId
from hub.domain.organisation import OrgRole
from hub.domain.principal import Principal
from hub.domain.session import Member, Role
from hub.protocol.durable import MemberAddedData, MemberRemovedData, MemberUpdatedData
from hub.protocol.frames import NewEvent
from hub.relay.broadcast import Broadcast
from hub.sessions.access import reach, reached, session_id
from hub.store import audit, invites, log, members, organisations, sessions, users
from hub.store.database import Db, Store
from hub.store.users import StoredUser

NO_SUCH = "no such member"


class Members:
    """Changes to the membership of a session. `user` is an id or a name everywhere."""

    def __init__(self, store: Store, broadcast: Broadcast) -> None:
        self._store = store
        self._broadcast = broadcast

    async def put(self, principal: Principal, session: str, user: str, role: Role) -> Member:
        """Add a member or change a role.

        Raises `Conflict` when the session would be left without an owner, or be owned by a guest of its organisation.
        """
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.MANAGE_MEMBERS, lock=True)
            who = await users.find(db, user)
            if role is not Role.OWNER:
                await _keep_an_owner(db, id_, who)
            await _admit(db, id_, who, role)
            outcome = await members.put(db, id_, who.id, role)
            if outcome == "unchanged":
                return Member(who.id, who.name, role)
            kind = MemberAddedData if outcome == "added" else MemberUpdatedData
            events = await log.append(db, id_, [NewEvent(kind(user=who.id, name=who.name, role=role.value))])
            await audit.add(
                db,
                actor=principal.user,
                action="member.put",
                object=f"session:{id_}",
                address=principal.address,
                detail={"user": who.id, "role": role.value},
            )
        self._broadcast.events(events)
        self._broadcast.membership_changed(id_, who.id)
        return Member(who.id, who.name, role)

    async def remove(self, principal: Principal, session: str, user: str) -> Member:
        """Take a member out; anybody may take themselves out. Raises `Conflict` for the last owner, and `NotFound`,
        in the same words for who is no member here and for who is nobody on the whole hub.

        Who is taken out knows the session's links, perhaps: they end.
        """
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            who = await users.called(db, user)
            leaving = who is not None and who.id == principal.user
            await reach(db, principal, id_, Action.READ if leaving else Action.MANAGE_MEMBERS, lock=True)
            if who is None:
                raise NotFound(NO_SUCH)
            await _keep_an_owner(db, id_, who)
            removed = await members.remove(db, id_, who.id)
            if removed is None:
                raise NotFound(NO_SUCH)
            if not leaving:
                await invites.remove_all(db, id_)
            await organisations.dismiss(db, id_, who.id)
            data = MemberRemovedData(user=removed.user, name=removed.name, role=removed.role.value)
            events = await log.append(db, id_, [NewEvent(data)])
            await audit.add(
                db,
                actor=principal.user,
                action="member.remove",
                object=f"session:{id_}",
                address=principal.address,
                detail={"user": who.id},
            )
        self._broadcast.events(events)
        self._broadcast.membership_changed(id_, who.id)
        return removed

    async def list(self, principal: Principal, session: str) -> Sequence[Member]:
        """Everybody in the session."""
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            found = await members.list(db, id_)
            reached(db, principal, Action.READ)
        return found


async def _admit(db: Db, session: SessionId, who: StoredUser, role: Role) -> None:
    """Members of a session belong to its organisation: others become guests of it, or look as if nobody had their
    name, where none are welcome."""
    present = await organisations.admit(db, session, who.id)
    if present is None:
        raise NotFound("no such user")
    if present is OrgRole.GUEST and role is Role.OWNER:
        raise Conflict("a guest of the organisation cannot own a session")


async def _keep_an_owner(db: Db, session: SessionId, who: StoredUser) -> None:
    if await sessions.role(db, session, who.id) is Role.OWNER and await members.owners(db, session) == 1:
        raise Conflict("a session needs an owner: make somebody else owner first")
