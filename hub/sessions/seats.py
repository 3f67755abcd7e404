"""Who may speak as which agent."""

from collections.abc import Collection

from hub.auth.policy import Action, needed_role, require_scope
from hub.domain.errors import NotFound
from hub.domain.ids import SessionId, UserId
from hub.domain.principal import Principal
from hub.domain.session import Role
from hub.domain.team import AgentSpec
from hub.engine.catalog import Catalog
from hub.sessions.access import session_id
from hub.store import members, organisations, sessions
from hub.store.database import Store

NO_SUCH = "no such agent"


class Seats:
    """The places in teams that programs take.

    A place that names a user is that user's in every session of the team: the operator has said so. Any other one is
    open to the editors of a session, there. What somebody may not take looks as if it were not there.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def check(
        self, principal: Principal, agent: str, *, session: str | None, team: str | None
    ) -> SessionId | None:
        """Return (the session) when the caller may speak as this agent: in this session, in sessions of this team, or
        somewhere; without a session, its turns are offered where the caller may take them. Raises `NotFound`, and
        `Forbidden` for a scope."""
        require_scope(principal, Action.SERVE)
        teams = [team] if team is not None else list(self._catalog.names())
        role: Role | None = Role.OWNER  # of the sessions that the caller owns, if any
        if session is not None:
            async with self._store.statements() as db:
                found = await sessions.get(db, session_id(session), principal.user)
            if found is None or found.team not in teams:
                raise NotFound(NO_SUCH)
            teams, role, session = [found.team], found.role, found.id
        elif self._catalog.has_tenants:
            async with self._store.statements() as db:
                mine = [org.id for org in await organisations.of_user(db, principal.user)]
            teams = [name for name in teams if self._catalog.is_for(name, mine)]
        for name in teams:
            spec = self._catalog.get(name)
            seated = spec.agent(agent) if spec is not None else None
            if seated is not None and _may(seated, principal, role):
                return SessionId(session) if session is not None else None
        raise NotFound(NO_SUCH)


async def speakers(store: Store, session: SessionId, users: Collection[UserId]) -> Collection[UserId]:
    """Those of these users who may speak in this session as an agent whose place names nobody."""
    async with store.statements() as db:
        return await members.holding(db, session, users, [role for role in Role if _suffices(role)])


def _may(agent: AgentSpec, principal: Principal, role: Role | None) -> bool:
    if agent.seat is None:
        return False
    if agent.seat.user is not None:
        return principal.name == agent.seat.user
    return role is not None and _suffices(role)


def _suffices(role: Role) -> bool:
    needed = needed_role(Action.SERVE)
    return needed is None or role.includes(needed)
