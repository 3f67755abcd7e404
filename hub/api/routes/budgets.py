"""Budgets: what holds, what is used, and other limits."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.routes.admin import UserPath
from hub.api.shapes import NO_NUL, AnyLimit, Body, Cursor, Page, SessionPath
from hub.domain.budget import BudgetScope, Limit, Quantity, limit_of
from hub.protocol.results import BudgetResult
from hub.protocol.text import Storable
from hub.sessions.budgeting import BudgetState
from hub.store import pages

Quantities = Literal["tokens", "cost", "turns", "tool_calls", "seconds"]
Number = Annotated[
    float | None,
    Field(ge=0, le=9_000_000_000, allow_inf_nan=False, strict=True, description="null takes back what was set."),
]
OrganisationPath = Annotated[
    Storable, Path(alias="id", description="The organisation's id or name.", json_schema_extra={"pattern": NO_NUL})
]


Budgets = Page[BudgetResult]


class DayBudget(Body):
    """A limit of a day (UTC)."""

    quantity: Quantities
    limit: Number

    def amount(self, scope: BudgetScope) -> Limit | None:
        """The limit as it is stored; None takes it back."""
        return limit_of(scope, Quantity(self.quantity), self.limit) if self.limit is not None else None


class SessionBudget(DayBudget):
    """A limit of a session, or of each of its runs."""

    scope: Literal["run", "session"]


async def of_session(
    session: SessionPath, caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None
) -> Budgets:
    """The limits of a session and of its runs. Those of users and organisations hold beside them."""
    return _page(await wired.budgets.of_session(caller, session), limit, cursor)


async def set_for_session(session: SessionPath, body: SessionBudget, caller: Caller, wired: Wired) -> Budgets:
    """Raise or lower a limit, in place of what the team says; runs under way notice when they come to it."""
    scope, quantity = BudgetScope(body.scope), Quantity(body.quantity)
    return _page(await wired.budgets.set_for_session(caller, session, scope, quantity, body.amount(scope)))


async def of_user(
    user: UserPath, caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None
) -> Budgets:
    """The limits of a user's day."""
    return _page(await wired.budgets.of_user(caller, user), limit, cursor)


async def set_for_user(user: UserPath, body: DayBudget, caller: Caller, wired: Wired) -> Budgets:
    """Set a limit of a user's day, in place of the hub's."""
    amount = body.amount(BudgetScope.USER)
    return _page(await wired.budgets.set_for_user(caller, user, Quantity(body.quantity), amount))


async def of_organisation(
    organisation: OrganisationPath, caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None
) -> Budgets:
    """The limits of an organisation's day."""
    return _page(await wired.budgets.of_organisation(caller, organisation), limit, cursor)


async def set_for_organisation(
    organisation: OrganisationPath, body: DayBudget, caller: Caller, wired: Wired
) -> Budgets:
    """Set a limit of an organisation's day, in place of the hub's."""
    amount = body.amount(BudgetScope.ORGANISATION)
    found = await wired.budgets.set_for_organisation(caller, organisation, Quantity(body.quantity), amount)
    return _page(found)


def _page(states: list[BudgetState], limit: int | None = None, cursor: str | None = None) -> Budgets:
    items = [_item(state) for state in states]
    shown, following = pages.part(items, lambda item: f"{item.scope} {item.quantity}", limit, cursor)
    return Page(items=shown, next=following)


def _item(state: BudgetState) -> BudgetResult:
    limit = state.limit
    unit = limit.quantity.per_unit
    return BudgetResult(
        scope=limit.scope.value,
        quantity=limit.quantity.value,
        limit=limit.amount / unit,
        used=state.used / unit if state.used is not None else None,
        set=state.is_set,
    )


def router() -> APIRouter:
    """`/v1/…/budgets`."""
    routes = APIRouter(tags=["usage"])
    seen, changed = problems(400, 401, 403, 404), problems(400, 401, 403, 404, 413)
    for path, shown, put in (
        ("/v1/sessions/{id}/budgets", of_session, set_for_session),
        ("/v1/admin/users/{id}/budgets", of_user, set_for_user),
        ("/v1/admin/organisations/{id}/budgets", of_organisation, set_for_organisation),
    ):
        routes.add_api_route(path, shown, methods=["GET"], responses=seen)
        routes.add_api_route(path, put, methods=["PUT"], responses=changed)
    return routes
