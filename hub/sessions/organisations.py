"""Organisations: who belongs to them. What is said in their sessions is none of their owners' business as such."""

from collections.abc import Mapping

from hub.auth.names import clean_name
from hub.auth.policy import OrgAction, require_account, require_admin, require_org_role
from hub.domain.errors import Conflict, NotFound
from hub.domain.ids import OrganisationId, SessionId, UserId, new_id, parse_id
from hub.domain.organisation import FIRST_ORGANISATION, Organisation, OrgKeep, OrgMember, OrgRole
from hub.domain.principal import Principal
from hub.domain.session import Role
from hub.protocol.durable import MemberRemovedData, MemberUpdatedData
from hub.protocol.frames import NewEvent
from hub.relay.broadcast import Broadcast
from hub.sessions.access import find_organisation
from hub.store import audit, erasing_organisations, log, members, organisations, sessions, users
from hub.store.database import Db, Store
from hub.store.organisations import NewOrganisation
from hub.store.users import StoredUser

SESSIONS_AT_ONCE = 100


class Organisations:
    """Every method takes who does it (`principal`; None: the operator, at the machine, who may do everything) and from
    where, for the audit trail. `org` and `user` are ids or names. An organisation that the caller does not belong to is
    `NotFound`. Without `broadcast` open connections hear of what is changed within seconds by themselves."""

    def __init__(self, store: Store, broadcast: Broadcast | None = None) -> None:
        self._store = store
        self._broadcast = broadcast

    async def create(
        self, principal: Principal | None, name: str, *, guests: bool = False, address: str | None = None
    ) -> Organisation:
        """A new organisation; who makes it is its owner. Raises `Forbidden` for who does not administer the hub,
        `BadRequest` for a name that will not do, `Conflict` for one that is taken."""
        if principal is not None:
            require_admin(principal)
        new = NewOrganisation(OrganisationId(new_id()), clean_name(name), guests)
        actor = _who(principal)
        async with self._store.transaction() as db:
            await organisations.create(db, new)
            if actor is not None:
                await organisations.put(db, new.id, actor, OrgRole.OWNER)
            await _audited(db, principal, "organisation.create", new.id, address, {"guests": guests})
            return await _known(db, new.id, actor)

    async def mine(self, principal: Principal) -> list[Organisation]:
        """Where the caller belongs, by name."""
        async with self._store.reads(principal) as db:
            return await organisations.of_user(db, principal.user)

    async def page(self, *, limit: int, cursor: str | None) -> tuple[list[Organisation], str | None]:
        """All there are, for the operator."""
        async with self._store.transaction() as db:
            return await organisations.page(db, limit=limit, cursor=cursor)

    async def update(
        self,
        principal: Principal | None,
        org: str,
        *,
        name: str | None = None,
        guests: bool | None = None,
        address: str | None = None,
    ) -> Organisation:
        """Change what is not None. Guests who are in sessions stay there when no more are welcome."""
        cleaned = clean_name(name) if name is not None else None
        async with self._store.transaction(person=_who(principal)) as db:
            found = await _reach(db, principal, org, OrgAction.UPDATE)
            await organisations.update(db, found.id, name=cleaned, guests=guests)
            await _audited(db, principal, "organisation.update", found.id, address, {"guests": guests})
            return await _known(db, found.id, _who(principal))

    async def keep(
        self, principal: Principal | None, org: str, keep: OrgKeep, *, address: str | None = None
    ) -> Organisation:
        """Change how long the organisation keeps its sessions; what is over by now goes with the next sweep."""
        async with self._store.transaction(person=_who(principal)) as db:
            found = await _reach(db, principal, org, OrgAction.UPDATE)
            await organisations.keep(db, found.id, keep)
            detail = {"sessions_s": keep.sessions_s, "deleted_s": keep.deleted_s}
            await _audited(db, principal, "organisation.keep", found.id, address, detail)
            return await _known(db, found.id, _who(principal))

    async def members(
        self, principal: Principal | None, org: str, *, limit: int, cursor: str | None
    ) -> tuple[list[OrgMember], str | None]:
        """Who belongs to it, and the cursor of the next page. Guests may not ask."""
        async with self._store.transaction(person=_who(principal)) as db:
            found = await _reach(db, principal, org, OrgAction.LIST_MEMBERS)
            return await organisations.members(db, found.id, limit=limit, cursor=cursor)

    async def put(
        self, principal: Principal | None, org: str, user: str, role: OrgRole, *, address: str | None = None
    ) -> OrgMember:
        """Let somebody belong to it, or change what they are there. Only owners make and unmake owners.

        Raises `Conflict` when nobody would own it any more, and for making a guest: invitations do that.
        """
        if role is OrgRole.GUEST:
            raise Conflict("guests are made by inviting them to a session")
        async with self._store.transaction(person=_who(principal)) as db:
            found = await _reach(db, principal, org, OrgAction.MANAGE_MEMBERS)
            who = await users.find(db, user)
            before = await organisations.role(db, found.id, who.id)
            _may_change(principal, found, before, role)
            if before is OrgRole.OWNER and role is not OrgRole.OWNER:
                await _keep_an_owner(db, found.id)
            if before is not role:
                await organisations.put(db, found.id, who.id, role)
                detail = {"user": who.id, "role": role.value}
                await _audited(db, principal, "organisation.member.put", found.id, address, detail)
        return OrgMember(who.id, who.name, role)

    async def remove(self, principal: Principal | None, org: str, user: str, *, address: str | None = None) -> None:
        """Take somebody out of the organisation and of all its sessions; anybody may take themselves out.

        Where they were the only owner, the member with the highest role, of these the one who came first, is owner
        now; a session without any other member can be reached by nobody any more. Raises `Conflict` for the only
        owner of the organisation.
        """
        while True:
            # As the hub itself: where somebody is at home next is looked for in all organisations.
            async with self._store.transaction() as db:
                found, who = await self._leaving(db, principal, org, user)
                left = await organisations.sessions_of(db, found.id, who.id, limit=SESSIONS_AT_ONCE)
                if not left:
                    await organisations.remove(db, found.id, who.id)
                    await _audited(db, principal, "organisation.member.remove", found.id, address, {"user": who.id})
                    return
            for session in left:
                await self._take_out(principal, session, who, address)

    async def erase(self, principal: Principal | None, org: str, *, address: str | None = None) -> OrganisationId:
        """Nobody belongs to the organisation any more, and nobody finds it; `OrganisationErasure` takes what it had.

        Raises `Forbidden` for who does not administer the hub, and `Conflict` for the first organisation.
        """
        if principal is not None:
            require_admin(principal)
        async with self._store.transaction() as db:
            id_ = await find_organisation(db, org)
            if id_ == FIRST_ORGANISATION:
                raise Conflict("this organisation stays: whoever registers is at home in it")
            if not await erasing_organisations.bury(db, id_):  # somebody has done it meanwhile
                raise NotFound("no such organisation")
            await _audited(db, principal, "organisation.erase", id_, address, {})
        return id_

    async def _leaving(
        self, db: Db, principal: Principal | None, org: str, user: str
    ) -> tuple[Organisation, StoredUser]:
        found = await _reach(db, principal, org, OrgAction.SEE)
        who = await users.called(db, user)
        leaving = principal is not None and who is not None and who.id == principal.user
        if not leaving and principal is not None:
            require_org_role(found.role, OrgAction.MANAGE_MEMBERS)
        # The same words for who is elsewhere and for who is nobody.
        before = await organisations.role(db, found.id, who.id) if who is not None else None
        if who is None or before is None:
            raise NotFound("no such member")
        if not leaving:
            _may_change(principal, found, before, None)
        if before is OrgRole.OWNER:
            await _keep_an_owner(db, found.id)
        return found, who

    async def _take_out(
        self, principal: Principal | None, session: SessionId, who: StoredUser, address: str | None
    ) -> None:
        async with self._store.transaction(person=_who(principal)) as db:
            there = await sessions.lock(db, session) is not None
            removed = await members.remove(db, session, who.id)
            if removed is None:
                return
            if not there:  # deleted: nobody follows it
                return
            changes = [NewEvent(MemberRemovedData(user=who.id, name=removed.name, role=removed.role.value))]
            if removed.role is Role.OWNER and not await members.owners(db, session):
                heir = await members.promote(db, session)
                if heir is not None:
                    changes.append(NewEvent(MemberUpdatedData(user=heir.user, name=heir.name, role=heir.role.value)))
            events = await log.append(db, session, changes)
            await audit.add(
                db,
                actor=_who(principal),
                action="member.remove",
                object=f"session:{session}",
                address=address,
                detail={"user": who.id},
            )
        if self._broadcast is not None:
            self._broadcast.events(events)
            self._broadcast.membership_changed(session, who.id)


def _who(principal: Principal | None) -> UserId | None:
    return principal.user if principal is not None else None


async def _reach(db: Db, principal: Principal | None, org: str, action: OrgAction) -> Organisation:
    """The organisation, locked, if the caller may do this to it. Raises `NotFound` or `Forbidden`."""
    if principal is not None:
        require_account(principal)
    parsed = parse_id(org)
    id_ = OrganisationId(parsed) if parsed is not None else await organisations.by_name(db, org)
    user = _who(principal)
    found = await organisations.get(db, id_, user, lock=True) if id_ is not None else None
    if found is None:
        raise NotFound("no such organisation")
    if principal is not None:
        require_org_role(found.role, action)
    return found


async def _known(db: Db, org: OrganisationId, user: UserId | None) -> Organisation:
    found = await organisations.get(db, org, user)
    assert found is not None, "it is of this transaction"
    return found


def _may_change(principal: Principal | None, org: Organisation, before: OrgRole | None, after: OrgRole | None) -> None:
    if principal is not None and OrgRole.OWNER in (before, after) and before is not after:
        require_org_role(org.role, OrgAction.MANAGE_OWNERS)


async def _keep_an_owner(db: Db, org: OrganisationId) -> None:
    if await organisations.owners(db, org) == 1:
        raise Conflict("an organisation needs an owner: make somebody else owner first")


async def _audited(
    db: Db,
    principal: Principal | None,
    action: str,
    org: OrganisationId,
    address: str | None,
    detail: Mapping[str, object],
) -> None:
    await audit.add(
        db,
        actor=_who(principal),
        action=action,
        object=f"organisation:{org}",
        address=address,
        detail=detail,
    )
