"""Limits of sessions, users and organisations: seen by who is concerned, set by owners and administrators."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.auth.policy import Action, require_admin
from hub.domain.budget import BudgetScope, Limit, Quantity, stacked
from hub.domain.principal import Principal
from hub.domain.session import Session
from hub.domain.usage import Spent
from hub.engine.catalog import Catalog
from hub.sessions.access import find_organisation, reach, session_id
from hub.store import audit, budgets, users
from hub.store.budgets import Subject
from hub.store.database import Db, Store

OF_SESSION = (BudgetScope.RUN, BudgetScope.SESSION)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A limit that holds, and what is used of it; of runs, which have one each, None. `is_set`: somebody has set it,
    for this very session, user or organisation."""

    limit: Limit
    used: int | None
    is_set: bool


class BudgetLimits:
    """What is set here holds at once: a run that comes to a limit looks whether it was raised before it ends. A limit
    of None takes back what was set."""

    def __init__(self, store: Store, catalog: Catalog, hub: Sequence[Limit]) -> None:
        self._store = store
        self._catalog = catalog
        self._hub = hub

    async def of_session(self, principal: Principal, session: str) -> list[BudgetState]:
        """The limits of a session and of each of its runs."""
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            return await self._of_session(db, await reach(db, principal, id_, Action.READ))

    async def set_for_session(
        self, principal: Principal, session: str, scope: BudgetScope, quantity: Quantity, limit: Limit | None
    ) -> list[BudgetState]:
        """Set a limit of a session, or of each of its runs, in place of what its team says; the hub's stay."""
        id_ = session_id(session)
        async with self._store.transaction(person=principal.user, session=id_) as db:
            found = await reach(db, principal, id_, Action.SET_BUDGET, lock=True)
            await _set(db, principal, id_, f"session:{id_}", scope, quantity, limit)
            return await self._of_session(db, found)

    async def of_user(self, principal: Principal, user: str) -> list[BudgetState]:
        """The limits of a user's day (UTC)."""
        require_admin(principal)
        async with self._store.statements() as db:
            return await self._of(db, (await users.find(db, user)).id, BudgetScope.USER)

    async def set_for_user(
        self, principal: Principal, user: str, quantity: Quantity, limit: Limit | None
    ) -> list[BudgetState]:
        """Set a limit of a user's day, in place of the hub's."""
        require_admin(principal)
        async with self._store.transaction() as db:
            id_ = (await users.find(db, user)).id
            await _set(db, principal, id_, f"user:{id_}", BudgetScope.USER, quantity, limit)
            return await self._of(db, id_, BudgetScope.USER)

    async def of_organisation(self, principal: Principal, organisation: str) -> list[BudgetState]:
        """The limits of an organisation's day (UTC)."""
        require_admin(principal)
        async with self._store.statements() as db:
            return await self._of(db, await find_organisation(db, organisation), BudgetScope.ORGANISATION)

    async def set_for_organisation(
        self, principal: Principal, organisation: str, quantity: Quantity, limit: Limit | None
    ) -> list[BudgetState]:
        """Set a limit of an organisation's day, in place of the hub's."""
        require_admin(principal)
        async with self._store.transaction() as db:
            id_ = await find_organisation(db, organisation)
            await _set(db, principal, id_, f"organisation:{id_}", BudgetScope.ORGANISATION, quantity, limit)
            return await self._of(db, id_, BudgetScope.ORGANISATION)

    async def _of_session(self, db: Db, session: Session) -> list[BudgetState]:
        team = self._catalog.get(session.team)
        own = await budgets.of_subject(db, session.id)
        hub = [limit for limit in self._hub if limit.scope in OF_SESSION]
        return await _states(db, session.id, stacked(hub, team.budgets if team is not None else (), own), own)

    async def _of(self, db: Db, subject: Subject, scope: BudgetScope) -> list[BudgetState]:
        own = await budgets.of_subject(db, subject)
        limits = stacked([limit for limit in self._hub if limit.scope is scope], (), own)
        return await _states(db, subject, limits, own)


async def _states(db: Db, subject: Subject, limits: Sequence[Limit], own: Sequence[Limit]) -> list[BudgetState]:
    used = dict[BudgetScope, Spent]()
    for scope in {limit.scope for limit in limits} - {BudgetScope.RUN}:
        used[scope] = await budgets.used_by(db, subject, scope)
    return [
        BudgetState(limit, limit.quantity.amount(used[limit.scope]) if limit.scope in used else None, limit in own)
        for limit in limits
    ]


async def _set(
    db: Db,
    principal: Principal,
    subject: Subject,
    name: str,
    scope: BudgetScope,
    quantity: Quantity,
    limit: Limit | None,
) -> None:
    if limit is None:
        await budgets.remove(db, subject, scope, quantity)
    else:
        await budgets.put(db, subject, limit, principal.user)
    amount = limit.amount / quantity.per_unit if limit is not None else None
    detail = {"scope": scope.value, "quantity": quantity.value, "limit": amount}
    await audit.add(
        db, actor=principal.user, action="budget.set", object=name, address=principal.address, detail=detail
    )
