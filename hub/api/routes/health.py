"""Is it alive, may it take traffic, what does it count."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from hub.api.caller import Wired
from hub.api.openapi import problems
from hub.domain.errors import Unavailable
from hub.protocol.pieces import Wire


class Alive(Wire):
    status: Literal["ok"] = "ok"


class Ready(Wire):
    """`checks`: per dependency `ok`, `degraded` or `down`."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]


async def healthz() -> Alive:
    """The worker's event loop turns; says nothing about what it depends on."""
    return Alive()


async def readyz(wired: Wired, response: Response) -> Ready:
    """This worker may take traffic; else `unavailable`, with what is missing in `details`."""
    readiness = await wired.readiness()
    if not readiness.ready:
        raise Unavailable("not ready", retry_after=1.0, details={"checks": dict(readiness.checks)})
    response.headers["cache-control"] = "no-store"
    return Ready(checks=dict(readiness.checks))


async def metrics(wired: Wired) -> Response:
    """Counters and gauges of all workers of this host, in the Prometheus text format."""
    return Response(await wired.metrics(), media_type=CONTENT_TYPE_LATEST)


def router() -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`."""
    routes = APIRouter(tags=["operation"])
    routes.add_api_route("/healthz", healthz, methods=["GET"], responses=problems())
    routes.add_api_route("/readyz", readyz, methods=["GET"], responses=problems())
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    routes.add_api_route("/metrics", metrics, methods=["GET"], responses=text | problems(), response_class=Response)
    return routes
