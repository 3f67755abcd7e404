"""Who belongs to a session."""

from typing import Annotated

from fastapi import APIRouter, Path

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, AnyLimit, Body, Cursor, Page, SessionPath
from hub.domain.session import Role
from hub.protocol.results import MemberResult, member_result
from hub.protocol.text import Name
from hub.store import pages

UserPath = Annotated[Name, Path(description="The user's id or name.", json_schema_extra={"pattern": NO_NUL})]


class MemberBody(Body):
    role: Role


async def page(
    session: SessionPath, caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None
) -> Page[MemberResult]:
    """Everybody in the session."""
    found = await wired.members.list(caller, session)
    members, following = pages.part(found, lambda member: member.user, limit, cursor)
    return Page(items=[member_result(member) for member in members], next=following)


async def put(session: SessionPath, user: UserPath, body: MemberBody, caller: Caller, wired: Wired) -> MemberResult:
    """Add a member, or change a role. A session keeps at least one owner."""
    return member_result(await wired.members.put(caller, session, user, body.role))


async def remove(session: SessionPath, user: UserPath, caller: Caller, wired: Wired) -> None:
    """Take a member out of the session."""
    await wired.members.remove(caller, session, user)


def router() -> APIRouter:
    """`/v1/sessions/{id}/members`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/members", tags=["sessions"])
    routes.add_api_route("", page, methods=["GET"], responses=problems(400, 401, 403, 404))
    routes.add_api_route("/{user}", put, methods=["PUT"], responses=problems(400, 401, 403, 404, 409, 413))
    routes.add_api_route(
        "/{user}", remove, methods=["DELETE"], status_code=204, responses=problems(400, 401, 403, 404, 409)
    )
    return routes
