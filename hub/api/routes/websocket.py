"""`GET /v1/ws` as an ordinary request: somebody tries it with curl, or a proxy has not passed the upgrade on."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException


async def refuse() -> None:
    raise HTTPException(426)


def router() -> APIRouter:
    """Requests for an upgrade go to the gateway and do not come here."""
    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/v1/ws", refuse, methods=["GET"])
    return routes
