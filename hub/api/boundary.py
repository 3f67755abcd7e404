"""The id of a request, and the answer when something goes wrong that nobody else answers for."""

import re

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.errors import problem_response
from hub.domain.errors import HubError, Internal
from hub.domain.ids import new_id

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Gives each request an id (the caller's `X-Request-ID` when it is a harmless one) that stands in the log, in the
    response's header and in problems."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


class RequestBoundary:
    """Turns whatever escapes into a problem, and what nobody expected into a log line with its traceback. What is
    outside of it adds its headers to that answer, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("hub.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except HubError as error:
            failure: HubError = error
        except Exception:  # noqa: BLE001 - boundary: a fault in one request must not reach the server or the client
            self._log.exception("request failed", method=scope["method"], route=_route(scope))
            failure = Internal("something went wrong in the hub", details={"correlation_id": request_id})
        else:
            return
        if not started:
            await problem_response(failure, request=request_id)(scope, receive, send)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _ACCEPTABLE_ID.fullmatch(given):
                return str(given)
    return new_id()


def _route(scope: Scope) -> str:
    # The pattern, not the path: a path may hold names, a query may hold secrets.
    return getattr(scope.get("route"), "path", "unknown")
