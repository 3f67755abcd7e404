"""Sessions: open, list, look up, change, delete."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body, Cursor, Limit, Page, SessionPath
from hub.domain.session import OnBusy
from hub.protocol.pieces import SessionData
from hub.protocol.results import session_data
from hub.protocol.text import Id, Metadata, Name, Title

DocumentedTitle = Annotated[Title, Field(json_schema_extra={"pattern": NO_NUL})]


class SessionBody(Body):
    """`on_busy` is what a message does by default when a run is active; it is `queue` when absent. `organisation` is
    the id of the one it shall belong to; absent: where the caller is at home."""

    team: Annotated[Name, Field(json_schema_extra={"pattern": NO_NUL, "examples": ["scripted", "duo"]})]
    title: DocumentedTitle | None = None
    metadata: Metadata | None = None
    on_busy: OnBusy | None = None
    organisation: Id | None = None


class SessionPatch(Body):
    """What is absent (or null) stays as it is."""

    title: DocumentedTitle | None = None
    metadata: Metadata | None = None
    on_busy: OnBusy | None = None


class ForkBody(Body):
    """`at_seq` is the place in the session's log."""

    at_seq: Annotated[int, Field(ge=1, lt=2**53, strict=True)]


async def create(body: SessionBody, caller: Caller, wired: Wired) -> SessionData:
    """Open a session with a team; the caller becomes its owner."""
    session = await wired.sessions.create(
        caller,
        team=body.team,
        title=body.title,
        metadata=body.metadata,
        on_busy=body.on_busy,
        organisation=body.organisation,
    )
    return session_data(session)


async def page(caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None) -> Page[SessionData]:
    """The caller's sessions, newest activity first."""
    sessions, following = await wired.sessions.page(caller, limit=limit, cursor=cursor)
    return Page(items=[session_data(session) for session in sessions], next=following)


async def get(session: SessionPath, caller: Caller, wired: Wired) -> SessionData:
    """A session as the caller sees it."""
    return session_data(await wired.sessions.get(caller, session))


async def update(session: SessionPath, body: SessionPatch, caller: Caller, wired: Wired) -> SessionData:
    """Change title, metadata or `on_busy`."""
    changed = await wired.sessions.update(
        caller, session, title=body.title, metadata=body.metadata, on_busy=body.on_busy
    )
    return session_data(changed)


async def fork(session: SessionPath, body: ForkBody, caller: Caller, wired: Wired) -> SessionData:
    """A new session of the caller's with the messages that counted at `at_seq`; the agents know exactly these."""
    return session_data(await wired.forking.fork(caller, session, body.at_seq))


async def delete(session: SessionPath, caller: Caller, wired: Wired) -> None:
    """Delete a session for everybody: what runs in it is stopped."""
    await wired.sessions.delete(caller, session)


def router() -> APIRouter:
    """`/v1/sessions`."""
    routes = APIRouter(prefix="/v1/sessions", tags=["sessions"])
    routes.add_api_route("", create, methods=["POST"], status_code=201, responses=problems(400, 401, 403, 409, 413))
    routes.add_api_route("", page, methods=["GET"], responses=problems(400, 401, 403))
    routes.add_api_route("/{id}", get, methods=["GET"], responses=problems(401, 403, 404))
    routes.add_api_route("/{id}", update, methods=["PATCH"], responses=problems(400, 401, 403, 404, 413))
    routes.add_api_route(
        "/{id}/fork", fork, methods=["POST"], status_code=201, responses=problems(400, 401, 403, 404, 409, 413)
    )
    routes.add_api_route("/{id}", delete, methods=["DELETE"], status_code=204, responses=problems(401, 403, 404))
    return routes
