"""Organisations: who belongs together, and whose sessions are whose."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.routes.members import UserPath
from hub.api.shapes import NO_NUL, AnyLimit, Body, Cursor, Flag, Limit, Page
from hub.auth.names import PATTERN
from hub.domain.organisation import SHORTEST_KEPT_S, Organisation, OrgKeep, OrgMember, OrgRole
from hub.protocol.frames import timestamp
from hub.protocol.results import KeptFor, OrganisationMemberResult, OrganisationResult
from hub.protocol.text import Name
from hub.store import pages

OrganisationPath = Annotated[
    Name, Path(alias="id", description="The organisation's id or name.", json_schema_extra={"pattern": NO_NUL})
]
OrganisationName = Annotated[Name, Field(json_schema_extra={"pattern": PATTERN})]


class OrganisationBody(Body):
    """`guests`: people who do not belong to it may be invited to its sessions."""

    name: OrganisationName
    guests: Flag = False


class OrganisationPatch(Body):
    """What is absent (or null) stays as it is."""

    name: OrganisationName | None = None
    guests: Flag | None = None


KeptSeconds = Annotated[int, Field(ge=SHORTEST_KEPT_S, lt=2**53, strict=True)]


class OrganisationKeepBody(Body):
    """In seconds; null: as long as the hub. Where the hub's time is shorter, that one holds."""

    sessions_s: KeptSeconds | None
    deleted_s: KeptSeconds | None


class OrganisationMemberBody(Body):
    role: Literal["owner", "admin", "member"]


async def create(body: OrganisationBody, caller: Caller, wired: Wired, address: Address) -> OrganisationResult:
    """Make an organisation; its maker owns it. For administrators of the hub."""
    return _result(await wired.organisations.create(caller, body.name, guests=body.guests, address=address))


async def page(caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None) -> Page[OrganisationResult]:
    """The organisations that the caller belongs to."""
    found, following = pages.part(await wired.organisations.mine(caller), lambda one: one.id, limit, cursor)
    return Page(items=[_result(one) for one in found], next=following)


async def update(
    org: OrganisationPath, body: OrganisationPatch, caller: Caller, wired: Wired, address: Address
) -> OrganisationResult:
    """Change an organisation's name, or whether guests are welcome."""
    changed = await wired.organisations.update(caller, org, name=body.name, guests=body.guests, address=address)
    return _result(changed)


async def keep(
    org: OrganisationPath, body: OrganisationKeepBody, caller: Caller, wired: Wired, address: Address
) -> OrganisationResult:
    """Say how long an organisation keeps sessions in which nothing happens any more (`sessions_s`; they are deleted
    then), and what was said in deleted ones (`deleted_s`; it is removed then)."""
    kept = OrgKeep(body.sessions_s, body.deleted_s)
    return _result(await wired.organisations.keep(caller, org, kept, address=address))


async def members(
    org: OrganisationPath, caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None
) -> Page[OrganisationMemberResult]:
    """Who belongs to an organisation."""
    found, following = await wired.organisations.members(caller, org, limit=limit, cursor=cursor)
    return Page(items=[_member(one) for one in found], next=following)


async def put(
    org: OrganisationPath,
    user: UserPath,
    body: OrganisationMemberBody,
    caller: Caller,
    wired: Wired,
    address: Address,
) -> OrganisationMemberResult:
    """Let a user belong to an organisation, or change what they are there. It keeps at least one owner."""
    return _member(await wired.organisations.put(caller, org, user, OrgRole(body.role), address=address))


async def remove(org: OrganisationPath, user: UserPath, caller: Caller, wired: Wired, address: Address) -> None:
    """Take a user out of an organisation, and out of all its sessions."""
    await wired.organisations.remove(caller, org, user, address=address)


def _result(org: Organisation) -> OrganisationResult:
    return OrganisationResult(
        id=org.id,
        name=org.name,
        role=org.role.value if org.role is not None else None,
        home=org.home,
        guests=org.guests,
        created_at=timestamp(org.created_at),
        keep=KeptFor(sessions_s=org.keep.sessions_s, deleted_s=org.keep.deleted_s),
    )


def _member(member: OrgMember) -> OrganisationMemberResult:
    return OrganisationMemberResult(user=member.user, name=member.name, role=member.role.value)


def router() -> APIRouter:
    """`/v1/organisations`."""
    routes = APIRouter(prefix="/v1/organisations", tags=["organisations"])
    known = problems(400, 401, 403, 404)
    routes.add_api_route("", create, methods=["POST"], status_code=201, responses=problems(400, 401, 403, 409, 413))
    routes.add_api_route("", page, methods=["GET"], responses=problems(400, 401))
    routes.add_api_route("/{id}", update, methods=["PATCH"], responses=known | problems(409, 413))
    routes.add_api_route("/{id}/keep", keep, methods=["PUT"], responses=known | problems(413))
    routes.add_api_route("/{id}/members", members, methods=["GET"], responses=known)
    routes.add_api_route("/{id}/members/{user}", put, methods=["PUT"], responses=known | problems(409, 413))
    routes.add_api_route(
        "/{id}/members/{user}", remove, methods=["DELETE"], status_code=204, responses=known | problems(409)
    )
    return routes
