"""The REST edge as one ASGI app for HTTP; WebSockets are routed to the gateway before it."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import hub
from hub.api import errors, openapi, rate_limit
from hub.api.body import BodyLimit
from hub.api.boundary import RequestBoundary, RequestIds
from hub.api.deadline import RequestDeadline
from hub.api.headers import SecurityHeaders
from hub.api.host import HostCheck
from hub.api.rate_limit import AddressCount, AddressLimit
from hub.api.reads import Reads
from hub.api.routes import (
    admin,
    api_keys,
    attachments,
    auth,
    budgets,
    calls,
    docs,
    events,
    exports,
    health,
    inputs,
    invites,
    me,
    members,
    messages,
    oidc,
    organisations,
    runs,
    search,
    sessions,
    teams,
    transcript,
    usage,
    web,
    websocket,
    well_known,
)
from hub.api.services import Services
from hub.api.stream import StreamSlots
from hub.auth.hosts import Hosts
from hub.auth.policy import route_rule

STATIC = Path(hub.__file__).parent / "static"


def build(services: Services, *, static: Path = STATIC) -> ASGIApp:
    """The app. `static` is the folder with the chat page (`web`) and the assets of /docs (`swagger`)."""
    app = _App(
        title="Agent Hub",
        version=hub.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.services = services
    app.state.stream_slots = StreamSlots(services.max_streams, services.streams)
    errors.install(app)
    routers = [docs.router(app, static / "swagger")]  # first: its `schema.json` is no team's name
    routers += [
        routes.router()
        for routes in (
            auth,
            oidc,
            me,
            api_keys,
            sessions,
            members,
            organisations,
            invites,
            messages,
            attachments,
            events,
            transcript,
            exports,
            search,
            usage,
            budgets,
            teams,
            runs,
            calls,
            inputs,
            admin,
            health,
            well_known,
        )
    ]
    for router in routers:
        include(app, router)
    app.include_router(web.router(static / "web"))
    app.include_router(websocket.router())
    app.add_middleware(RequestBoundary)  # what escapes further has had an answer of Starlette's
    return _wrapped(Reads(app, services, routers), services)


def include(app: FastAPI, router: APIRouter) -> None:
    """Add routes. Raises `LookupError` when one of them has no policy: it must not be served by oversight."""
    for route in router.routes:
        assert isinstance(route, APIRoute), "everything else is mounted"
        for method in route.methods or ():
            route_rule(method, route.path)
    app.include_router(router)


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return openapi.describe(self)


def _wrapped(app: ASGIApp, services: Services) -> ASGIApp:
    """Innermost first."""
    app = RequestDeadline(app)  # from when the body is there
    app = BodyLimit(app)
    app = RequestBoundary(app)  # here, for its answers are limited and read by pages like all others …
    app = AddressLimit(app)
    if services.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(services.allowed_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID", *rate_limit.HEADERS],
            max_age=600,
        )
    app = HostCheck(app, hosts=Hosts(services.allowed_hosts))
    app = AddressCount(app, limits=services.rate_limits)
    app = RequestBoundary(app)  # … and here for what those between refuse
    app = SecurityHeaders(app)
    return RequestIds(app)
