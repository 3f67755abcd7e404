"""Invites by link."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body, Cursor, Limit, Moment, Page, SessionPath
from hub.domain.session import Role
from hub.protocol.frames import timestamp
from hub.protocol.pieces import SessionData
from hub.protocol.results import InviteResult, NewInviteResult, session_data
from hub.protocol.text import Storable
from hub.sessions.invites import MAX_USES
from hub.store.invites import Invite


class InviteBody(Body):
    """Without `expires_at`: 7 days; at most 30."""

    role: Literal["editor", "approver", "viewer"]
    max_uses: Annotated[int, Field(ge=1, le=MAX_USES, strict=True)] = 1
    expires_at: Moment | None = None


class AcceptBody(Body):
    token: Annotated[Storable, Field(min_length=1, max_length=200, json_schema_extra={"pattern": NO_NUL})]


async def create(
    session: SessionPath, body: InviteBody, caller: Caller, wired: Wired, address: Address, response: Response
) -> NewInviteResult:
    """Make a link that lets people into a session. The answer holds the only copy of its token."""
    response.headers["cache-control"] = "no-store"
    made = await wired.invites.create(
        caller, session, role=Role(body.role), max_uses=body.max_uses, expires_at=body.expires_at, address=address
    )
    return NewInviteResult(token=made.token, **_result(made.invite).model_dump())


async def page(
    session: SessionPath, caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None
) -> Page[InviteResult]:
    """The links that let somebody into a session now, newest first, without their tokens."""
    found, following = await wired.invites.page(caller, session, limit=limit, cursor=cursor)
    return Page(items=[_result(invite) for invite in found], next=following)


async def revoke(
    session: SessionPath,
    invite: Annotated[str, Path(description="The invite's id.")],
    caller: Caller,
    wired: Wired,
    address: Address,
) -> None:
    """End a link; who came in by it stays."""
    await wired.invites.revoke(caller, session, invite, address=address)


async def accept(body: AcceptBody, caller: Caller, wired: Wired, address: Address) -> SessionData:
    """Become a member of the session that a link leads into; who is one already stays what they are."""
    return session_data(await wired.invites.accept(caller, body.token, address=address))


def _result(invite: Invite) -> InviteResult:
    return InviteResult(
        id=invite.id,
        session=invite.session,
        role=invite.role.value,
        max_uses=invite.max_uses,
        uses=invite.uses,
        created_by=invite.created_by,
        created_at=timestamp(invite.created_at),
        expires_at=timestamp(invite.expires_at),
    )


def router() -> APIRouter:
    """`/v1/sessions/{id}/invites` and `/v1/invites/accept`."""
    routes = APIRouter(prefix="/v1", tags=["sessions"])
    of_session = "/sessions/{id}/invites"
    known = problems(400, 401, 403, 404)
    routes.add_api_route(of_session, create, methods=["POST"], status_code=201, responses=known | problems(409, 413))
    routes.add_api_route(of_session, page, methods=["GET"], responses=known)
    routes.add_api_route(
        of_session + "/{invite}", revoke, methods=["DELETE"], status_code=204, responses=problems(401, 403, 404)
    )
    routes.add_api_route("/invites/accept", accept, methods=["POST"], responses=known | problems(413))
    return routes
