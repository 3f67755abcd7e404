"""Full-text search over the caller's transcripts."""

from typing import Annotated

from fastapi import APIRouter, Query

from hub.api.caller import Caller
from hub.api.openapi import problems
from hub.domain.errors import not_supported_yet
from hub.protocol.results import Empty


async def search(_caller: Caller, q: Annotated[str, Query(max_length=500)] = "") -> Empty:  # noqa: ARG001 - documented
    """Not supported yet: always answers with a `bad_request` that says so."""
    raise not_supported_yet("search")


def router() -> APIRouter:
    """`/v1/search`."""
    routes = APIRouter(tags=["sessions"])
    routes.add_api_route("/v1/search", search, methods=["GET"], responses=problems(400, 401))
    return routes
