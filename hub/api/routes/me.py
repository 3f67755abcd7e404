"""Who am I."""

from fastapi import APIRouter

from hub.api.caller import Caller
from hub.api.openapi import problems
from hub.protocol.events import Wire
from hub.protocol.frames import timestamp


class Me(Wire):
    """The caller. `scopes` is null for a person's access token, which may do all the person may."""

    id: str
    name: str
    is_admin: bool
    scopes: list[str] | None
    expires_at: str


async def me(caller: Caller) -> Me:
    """The caller, as the credential of this call says."""
    return Me(
        id=caller.user,
        name=caller.name,
        is_admin=caller.is_admin,
        scopes=sorted(caller.scopes) if caller.scopes is not None else None,
        expires_at=timestamp(caller.expires_at),
    )


def router() -> APIRouter:
    """`/v1/me`."""
    routes = APIRouter(tags=["identity"])
    routes.add_api_route("/v1/me", me, methods=["GET"], responses=problems(401))
    return routes
