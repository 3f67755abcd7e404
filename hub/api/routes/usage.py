"""What was used of models, and what it cost."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.routes.admin import UserPath
from hub.api.shapes import Moment, SessionPath
from hub.domain.usage import Spent
from hub.protocol.frames import timestamp
from hub.protocol.results import ModelUsageResult, SessionUsageResult, SpentResult, UserUsageResult
from hub.store.usage import ModelUsage

FIRST_YEAR, LAST_YEAR = 1970, 9998  # what a database and a time zone can hold


def _in_reach(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError("a year from 1970 to 9998")
    return moment


Past = Annotated[Moment, AfterValidator(_in_reach)]
Since = Annotated[Past | None, Query(description="From when on; without it, 30 days before `until`.")]
Until = Annotated[Past | None, Query(description="Until before when; without it, now.")]


async def of_session(session: SessionPath, caller: Caller, wired: Wired) -> SessionUsageResult:
    """What a session has used in all its life, whoever asked for it; that of a turn counts when the turn has ended."""
    found = await wired.accounting.of_session(caller, session)
    return SessionUsageResult(session=session, usage=_total(found), models=_items(found))


async def own(caller: Caller, wired: Wired, since: Since = None, until: Until = None) -> UserUsageResult:
    """What the caller's runs have used, also in sessions that are gone."""
    found, begin, end = await wired.accounting.own(caller, since, until)
    return _of_user(found, begin, end)


async def of_user(
    user: UserPath, caller: Caller, wired: Wired, since: Since = None, until: Until = None
) -> UserUsageResult:
    """What a user's runs have used."""
    found, begin, end = await wired.accounting.of_user(caller, user, since, until)
    return _of_user(found, begin, end)


def spent_item(spent: Spent) -> SpentResult:
    """The wire's form of what was spent."""
    return SpentResult(
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        cost=spent.cost_micros / 1_000_000,
        turns=spent.turns,
        tool_calls=spent.tool_calls,
        seconds=spent.duration_ms / 1_000,
    )


def _of_user(found: Sequence[ModelUsage], begin: datetime, end: datetime) -> UserUsageResult:
    return UserUsageResult(since=timestamp(begin), until=timestamp(end), usage=_total(found), models=_items(found))


def _total(found: Sequence[ModelUsage]) -> SpentResult:
    return spent_item(sum((one.spent for one in found), Spent()))


def _items(found: Sequence[ModelUsage]) -> list[ModelUsageResult]:
    return [ModelUsageResult(model=one.model, calls=one.calls, usage=spent_item(one.spent)) for one in found]


def router() -> APIRouter:
    """`/v1/…/usage`."""
    routes = APIRouter(tags=["usage"])
    routes.add_api_route("/v1/sessions/{id}/usage", of_session, methods=["GET"], responses=problems(401, 403, 404))
    routes.add_api_route("/v1/me/usage", own, methods=["GET"], responses=problems(400, 401, 403))
    routes.add_api_route("/v1/admin/users/{id}/usage", of_user, methods=["GET"], responses=problems(400, 401, 403, 404))
    return routes
