"""Looking at runs and stopping them."""

from typing import Annotated

from fastapi import APIRouter, Path

from hub.api.caller import Caller, Wired
from hub.api.openapi import problems
from hub.protocol.results import RunCommandResult, RunResult, run_result

RunPath = Annotated[str, Path(alias="id", description="The run's id.")]


async def get(run: RunPath, caller: Caller, wired: Wired) -> RunResult:
    """A run of a session the caller may read."""
    return run_result(await wired.control.get(caller, run))


async def cancel(run: RunPath, caller: Caller, wired: Wired) -> RunCommandResult:
    """Stop a run: a queued one at once, a live one within 2 s. One that has ended keeps its status."""
    return await wired.control.cancel(caller, None, run)


def router() -> APIRouter:
    """`/v1/runs`."""
    routes = APIRouter(prefix="/v1/runs/{id}", tags=["runs"])
    routes.add_api_route("", get, methods=["GET"], responses=problems(401, 403, 404))
    routes.add_api_route("/cancel", cancel, methods=["POST"], responses=problems(400, 401, 403, 404, 413))
    return routes
