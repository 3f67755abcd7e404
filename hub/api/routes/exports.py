"""Everything about a session or a person, as a download."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.routes.admin import JSON_LINES, UserPath
from hub.api.shapes import SessionPath


async def session(session: SessionPath, caller: Caller, wired: Wired, address: Address) -> StreamingResponse:
    """Everything about a session, one JSON object a line: the session, its members and links, its whole log, runs,
    large results and what was used. The first line is `export`, the last `end` with the number of `lines` between."""
    return _download("session", await wired.exports.session(caller, session, address=address))


async def me(caller: Caller, wired: Wired, address: Address) -> StreamingResponse:
    """Everything about the caller, one JSON object a line: the account, keys and sign-ins (without secrets),
    memberships, every message and answer, runs, what was used, and what the audit trail says."""
    return _download("me", await wired.exports.own(caller, address=address))


async def user(user: UserPath, caller: Caller, wired: Wired, address: Address) -> StreamingResponse:
    """Everything about a user, as they would get it themselves."""
    return _download("user", await wired.exports.user(caller, user, address=address))


def _download(name: str, lines: AsyncGenerator[bytes]) -> StreamingResponse:
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}.jsonl"'}
    return StreamingResponse(lines, media_type=JSON_LINES, headers=headers)


def router() -> APIRouter:
    """`…/export`."""
    routes = APIRouter()
    lines: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}}
    for path, endpoint, tag, errors in (
        ("/v1/sessions/{id}/export", session, "sessions", problems(401, 403, 404)),
        ("/v1/me/export", me, "identity", problems(401, 403)),
        ("/v1/admin/users/{id}/export", user, "administration", problems(400, 401, 403, 404)),
    ):
        routes.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=[tag],
            responses=lines | errors,
            response_class=StreamingResponse,
        )
    return routes
