"""Every failure of the REST edge as RFC 9457 problem+json; one of the two places where errors meet clients."""

import json
from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from hub.domain.errors import BadRequest, HubError, Internal, NotFound, TooLarge, Unauthenticated
from hub.protocol.problem import problem, problem_headers

MAX_FAULTS = 20  # told of one request


def problem_response(error: HubError, *, status: int | None = None, request: str | None = None) -> Response:
    """The response that tells about the error."""
    body = problem(error, status=status, request=request)
    # json, not orjson: what a caller sent comes back in `details`, and may hold lone surrogates.
    content = json.dumps(body.model_dump(), separators=(",", ":"))
    return Response(content, body.status, headers=problem_headers(error))


def install(app: FastAPI) -> None:
    """Have the app answer with problems. What is not expected is left to the request boundary."""
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(ValidationError, _invalid_model)
    app.add_exception_handler(HTTPException, _http_error)


async def _hub_error(request: Request, error: Exception) -> Response:
    return problem_response(cast(HubError, error), request=_request_id(request))


async def _invalid_request(request: Request, error: Exception) -> Response:
    return problem_response(invalid(cast(RequestValidationError, error).errors()), request=_request_id(request))


async def _invalid_model(request: Request, error: Exception) -> Response:
    faults = cast(ValidationError, error).errors(include_url=False, include_context=False, include_input=False)
    return problem_response(invalid(faults), request=_request_id(request))


async def _http_error(request: Request, error: Exception) -> Response:
    failure = cast(HTTPException, error)
    response = problem_response(
        _by_status(failure.status_code), status=failure.status_code, request=_request_id(request)
    )
    if failure.status_code == 405:
        response.headers["allow"] = ", ".join(_allowed_methods(request))
    if failure.status_code == 426:
        response.headers["upgrade"] = "websocket"
    return response


def _allowed_methods(request: Request) -> list[str]:
    # Starlette's own header names the methods of the first route of the path only.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ] or ["GET", "HEAD"]  # static files


def invalid(faults: Sequence[Any]) -> BadRequest:
    """What is wrong with a request, without giving back what was sent."""
    told = [
        {"where": [str(step)[:64] for step in fault["loc"]][:8], "what": fault["msg"]} for fault in faults[:MAX_FAULTS]
    ]
    first = told[0] if told else {"where": [], "what": "not valid"}
    return BadRequest(f"{'.'.join(first['where'])}: {first['what']}"[:200], details={"faults": told})


def _by_status(status: int) -> HubError:
    match status:
        case 401:
            return Unauthenticated("not authenticated")
        case 404:
            return NotFound("there is nothing at this address")
        case 405:
            return BadRequest("this address does not take that method")
        case 413:
            return TooLarge("the request is too large")
        case 426:
            return BadRequest("this is a WebSocket (ws:// or wss://); a proxy on the way has to pass Upgrade on")
        case _ if status < 500:
            return BadRequest("the request cannot be read")
        case _:
            return Internal("something went wrong in the hub")


def _request_id(request: Request) -> str | None:
    return cast("str | None", request.scope.get("state", {}).get("request_id"))
