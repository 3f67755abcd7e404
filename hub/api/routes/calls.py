"""Results of tool calls that are too large for an event."""

from typing import Annotated

from fastapi import APIRouter, Path

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import SessionPath
from hub.protocol.results import CallResultResult


async def get(
    session: SessionPath,
    call: Annotated[str, Path(description="The call's id, as `tool.returned` has it.")],
    caller: Caller,
    wired: Wired,
) -> CallResultResult:
    """All of a result of which `tool.returned` has the beginning (it has `characters` then)."""
    found = await wired.history.large_result(caller, session, call)
    return CallResultResult(call=found.call, name=found.tool, result=found.result)


def router() -> APIRouter:
    """`/v1/sessions/{id}/calls/{call}`."""
    routes = APIRouter(prefix="/v1/sessions/{id}/calls/{call}", tags=["runs"])
    routes.add_api_route("", get, methods=["GET"], responses=problems(401, 403, 404))
    return routes
