"""Sessions: open, look up, list, change, delete."""

from collections.abc import Mapping
from dataclasses import replace

from hub.auth.policy import Action, require_scope
from hub.domain.errors import BadRequest, Forbidden
from hub.domain.ids import OrganisationId, SessionId, new_id, parse_id
from hub.domain.principal import Principal
from hub.domain.session import OnBusy, Session
from hub.domain.team import TeamSpec
from hub.engine.catalog import Catalog
from hub.protocol.durable import MemberAddedData
from hub.protocol.frames import NewEvent
from hub.protocol.results import session_created, session_updated
from hub.relay.broadcast import Broadcast
from hub.runs.control import RunControl
from hub.sessions.access import reach, seen_by, session_id
from hub.sessions.closing import close
from hub.sessions.session_caps import SessionCaps
from hub.store import audit, log, organisations, sessions
from hub.store.database import Db, Store


class Sessions:
    """What may be done to sessions as a whole."""

    def __init__(
        self, store: Store, broadcast: Broadcast, catalog: Catalog, runs: RunControl, *, caps: SessionCaps
    ) -> None:
        self._store = store
        self._caps = caps
        self._broadcast = broadcast
        self._catalog = catalog
        self._runs = runs

    async def create(
        self,
        principal: Principal,
        *,
        team: str,
        title: str | None = None,
        metadata: Mapping[str, object] | None = None,
        on_busy: OnBusy | None = None,
        organisation: str | None = None,
    ) -> Session:
        """Open a session with a team, in the caller's home organisation if none is named; the caller becomes its owner.

        Raises `BadRequest` for a team that is not there for that organisation, `Forbidden` where the caller is no
        member of it, and `Conflict` when they own, or the organisation has, as many sessions as may be.
        """
        require_scope(principal, Action.CREATE)
        id_ = SessionId(new_id())
        async with self._store.transaction(person=principal.user) as db:
            await self._caps.check(db, principal.user)
            await sessions.create(
                db,
                id=id_,
                title=title or "",
                team=team,
                on_busy=on_busy or OnBusy.QUEUE,
                metadata=dict(metadata or {}),
                owner=principal.user,
                org=_organisation(organisation),
            )
            created = await seen_by(db, principal, id_)
            await self._caps.check_organisation(db, created.organisation)
            if not self._catalog.is_open_to(team, created.organisation):
                there = [spec.name for spec in self._catalog.offered([created.organisation])]
                raise BadRequest("no such team", details={"team": team, "teams": there})
            events = await log.append(
                db,
                id_,
                [
                    NewEvent(session_created(created, last_seq=2)),
                    NewEvent(MemberAddedData(user=principal.user, name=principal.name, role="owner")),
                ],
            )
            await _audited(db, principal, "session.create", id_, team=team)
        self._broadcast.events(events)
        return replace(created, last_seq=events[-1].seq, updated_at=events[-1].ts)

    async def teams(self, principal: Principal) -> list[TeamSpec]:
        """The teams that the caller may open sessions with, by name."""
        if not self._catalog.has_tenants:
            return self._catalog.offered(())
        async with self._store.reads(principal) as db:
            mine = await organisations.of_user(db, principal.user)
        return self._catalog.offered([org.id for org in mine])

    async def get(self, principal: Principal, session: str) -> Session:
        """The session as the caller sees it."""
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            return await reach(db, principal, id_, Action.READ)

    async def page(self, principal: Principal, *, limit: int, cursor: str | None) -> tuple[list[Session], str | None]:
        """The caller's sessions, newest activity first, and the cursor of the next page."""
        require_scope(principal, Action.READ)
        async with self._store.reads(principal) as db:
            return await sessions.page(db, principal.user, limit=limit, cursor=cursor)

    async def update(
        self,
        principal: Principal,
        session: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, object] | None = None,
        on_busy: OnBusy | None = None,
    ) -> Session:
        """Change what is given; None leaves a field as it is."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            before = await reach(db, principal, id_, Action.UPDATE, lock=True)
            await sessions.update(
                db, id_, title=title, metadata=dict(metadata) if metadata is not None else None, on_busy=on_busy
            )
            changed = await seen_by(db, principal, id_)
            events = await log.append(db, id_, [NewEvent(session_updated(changed, changed.last_seq + 1))])
            await _audited(db, principal, "session.update", id_)
        self._broadcast.events(events)
        return replace(changed, role=before.role, last_seq=events[-1].seq, updated_at=events[-1].ts)

    async def delete(self, principal: Principal, session: str) -> None:
        """Stop what runs and close the session for everybody: its members are removed, its log stays unreachable."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            await reach(db, principal, id_, Action.DELETE, lock=True)
            closed = await close(db, self._runs, id_, "session deleted")
            await _audited(db, principal, "session.delete", id_)
        closed.tell(self._broadcast, self._runs)


async def _audited(db: Db, principal: Principal, action: str, session: SessionId, **detail: object) -> None:
    object_ = f"session:{session}"
    await audit.add(db, actor=principal.user, action=action, object=object_, address=principal.address, detail=detail)


def _organisation(text: str | None) -> OrganisationId | None:
    if text is None:
        return None
    parsed = parse_id(text)
    if parsed is None:
        raise Forbidden(sessions.NO_MEMBER)
    return OrganisationId(parsed)
