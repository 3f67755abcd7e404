"""The teams a session may be opened with, and what administrators import."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, AnyLimit, Cursor, Limit, Page
from hub.protocol.frames import timestamp
from hub.protocol.pieces import Wire
from hub.protocol.results import AgentResult, TeamResult
from hub.protocol.text import Name
from hub.store import pages
from hub.store.teams import TeamVersion

FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A team's file in YAML, or JSON, which is YAML; its schema is at /v1/teams/schema.json.",
        "content": {"application/yaml": {"schema": {"type": "string"}}, "application/json": {"schema": {}}},
    }
}
TeamPath = Annotated[
    str,
    Path(alias="name", description="The team's name.", pattern=NO_NUL, max_length=48),
]
OrganisationQuery = Annotated[
    Annotated[Name, Field(json_schema_extra={"pattern": NO_NUL})] | None,
    Query(description="For sessions of this organisation only (id or name); without it, a new team is for all."),
]


class TeamVersionResult(Wire):
    """One version of a team. `created_by` is null for the operator, at the machine. A team is archived when its newest
    version has `archived_at`."""

    name: str
    version: int
    organisation: str | None
    created_by: str | None
    created_at: str
    archived_at: str | None


class TeamSourceResult(TeamVersionResult):
    """With the file as it was given."""

    source: str


async def teams(caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None) -> Page[TeamResult]:
    """The teams that the caller may open sessions with, by name."""
    specs, following = pages.part(await wired.sessions.teams(caller), lambda spec: spec.name, limit, cursor)
    items = [
        TeamResult(
            name=spec.name,
            description=spec.description,
            model=wired.catalog.model_name(spec),
            agents=[
                AgentResult(name=agent.name, display_name=agent.display_name, kind=spec.speaker(agent).value)
                for agent in spec.agents
            ],
            version=wired.catalog.version(spec.name),
        )
        for spec in specs
    ]
    return Page(items=items, next=following)


async def create(
    request: Request, caller: Caller, wired: Wired, address: Address, organisation: OrganisationQuery = None
) -> TeamVersionResult:
    """Import a new team; all workers have it within seconds. Refused with the line and column of every problem in
    `details.problems`."""
    added = await wired.teams.put(caller, await request.body(), organisation=organisation, new=True, address=address)
    return TeamVersionResult(**_fields(added))


async def put(
    name: TeamPath,
    request: Request,
    caller: Caller,
    wired: Wired,
    address: Address,
    organisation: OrganisationQuery = None,
) -> TeamVersionResult:
    """Import what a team is from now on: a new version, unless it is the file of the newest one. Runs under way keep
    theirs; sessions have the new one from their next run on."""
    added = await wired.teams.put(caller, await request.body(), name=name, organisation=organisation, address=address)
    return TeamVersionResult(**_fields(added))


async def get(
    name: TeamPath,
    caller: Caller,
    wired: Wired,
    version: Annotated[int | None, Query(ge=1, lt=2**31, description="Without it: the newest.")] = None,
) -> TeamSourceResult:
    """A version of a team that was imported, with its file."""
    found = await wired.teams.get(caller, name, version)
    return TeamSourceResult(**_fields(found), source=found.source)


async def versions(
    name: TeamPath, caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None
) -> Page[TeamVersionResult]:
    """The versions of a team that was imported, the newest first."""
    found, following = await wired.teams.versions(caller, name, limit=limit, cursor=cursor)
    return Page(items=[TeamVersionResult(**_fields(one)) for one in found], next=following)


async def archive(name: TeamPath, caller: Caller, wired: Wired, address: Address) -> None:
    """Archive a team that was imported: no session is opened with it any more, those that have it go on."""
    await wired.teams.archive(caller, name, address=address)


def _fields(team: TeamVersion) -> dict[str, Any]:
    return {
        "name": team.name,
        "version": team.version,
        "organisation": team.organisation,
        "created_by": team.created_by,
        "created_at": timestamp(team.created_at),
        "archived_at": timestamp(team.archived_at) if team.archived_at is not None else None,
    }


def router() -> APIRouter:
    """`/v1/teams`."""
    routes = APIRouter(prefix="/v1/teams", tags=["runs"])
    known = problems(400, 401, 403, 404)
    importing: dict[str, Any] = {"openapi_extra": FILE, "responses": known | problems(409, 413)}
    routes.add_api_route("", teams, methods=["GET"], responses=problems(400, 401))
    routes.add_api_route("", create, methods=["POST"], status_code=201, **importing)
    routes.add_api_route("/{name}", get, methods=["GET"], responses=known)
    routes.add_api_route("/{name}", put, methods=["PUT"], **importing)
    routes.add_api_route("/{name}", archive, methods=["DELETE"], status_code=204, responses=known)
    routes.add_api_route("/{name}/versions", versions, methods=["GET"], responses=known)
    return routes
