"""Who am I, and being nobody any more."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body
from hub.auth.passwords import MAX_BYTES
from hub.protocol.frames import timestamp
from hub.protocol.pieces import Wire
from hub.protocol.text import Storable


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


class EraseBody(Body):
    """`password` is needed of who has one."""

    password: Annotated[Storable | None, Field(max_length=MAX_BYTES, json_schema_extra={"pattern": NO_NUL})] = None


class Erased(Wire):
    """`user` is what is left: the id."""

    user: str


async def erase(body: EraseBody, caller: Caller, wired: Wired, address: Address) -> Erased:
    """Erase the caller. From the answer on nobody is them: credentials have ended, connections close within seconds;
    what they said is taken out of every session right after, and sessions that nobody else owns are deleted. Nothing
    brings it back."""
    await wired.accounts.erase(caller, body.password, address=address)
    wired.erasure.backlog.ask(caller.user)
    return Erased(user=caller.user)


def router() -> APIRouter:
    """`/v1/me`."""
    routes = APIRouter(tags=["identity"])
    routes.add_api_route("/v1/me", me, methods=["GET"], responses=problems(401))
    routes.add_api_route(
        "/v1/me", erase, methods=["DELETE"], status_code=202, responses=problems(400, 401, 403, 413, 429)
    )
    return routes
