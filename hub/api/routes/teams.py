"""The teams a session may be opened with."""

from fastapi import APIRouter

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import Page
from hub.protocol.results import AgentResult, TeamResult


async def teams(_caller: Caller, wired: Wired) -> Page[TeamResult]:
    """All teams by name: always one page."""
    specs = [spec for name in sorted(wired.catalog.names()) if (spec := wired.catalog.get(name)) is not None]
    items = [
        TeamResult(
            name=spec.name,
            description=spec.description,
            model=wired.catalog.model_name(spec),
            agents=[AgentResult(name=agent.name, display_name=agent.display_name) for agent in spec.agents],
        )
        for spec in specs
    ]
    return Page(items=items)


def router() -> APIRouter:
    """`/v1/teams`."""
    routes = APIRouter(tags=["runs"])
    routes.add_api_route("/v1/teams", teams, methods=["GET"], responses=problems(401))
    return routes
