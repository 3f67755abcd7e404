"""GETs of callers, without what FastAPI does for a request: that takes longer than the read itself.

Routes stay FastAPI's: it describes them, and what is said here of parameters and answers is read from its routes, so
that a read means the same whoever serves it. Everything else goes on to FastAPI.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from fastapi import APIRouter
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.api.caller import address, caller, identified, peer, services
from hub.api.errors import invalid
from hub.api.services import Services

ASKED_AGAIN = frozenset(
    {
        "/v1/me/usage",
        "/v1/organisations",
        "/v1/runs/{id}",
        "/v1/search",
        "/v1/sessions",
        "/v1/sessions/{id}",
        "/v1/sessions/{id}/budgets",
        "/v1/sessions/{id}/calls/{call}",
        "/v1/sessions/{id}/events",
        "/v1/sessions/{id}/inputs",
        "/v1/sessions/{id}/members",
        "/v1/sessions/{id}/transcript",
        "/v1/sessions/{id}/usage",
    }
)
"""Reads of which every statement asks whether the credential still holds (`Store.reads`)."""

_Node: TypeAlias = dict[str, Any]
_HERE = ""  # no piece of a path that names something is empty
_ANY = "{}"


class Reads:
    """Serves every GET of these routers that is for a known caller and asks nothing else of the request than what
    stands in its address. `routers` are all there are."""

    def __init__(self, app: ASGIApp, wired: Services, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._paths: _Node = {}
        for router in routers:
            for route in router.routes:
                if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
                    self._add(route.path, _Read(route, wired) if _is_plain(route) else None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            values: list[str] = []
            end = _find(self._paths, scope["path"].split("/"), 0, values)
            read: _Read | None = end[_HERE] if end is not None else None
            if read is not None:
                await read.answer(scope, receive, send, values)
                return
        await self._app(scope, receive, send)

    def _add(self, path: str, read: "_Read | None") -> None:
        """None: it is FastAPI's, and hides what is here for any name in its place."""
        node = self._paths
        for piece in path.split("/"):
            node = node.setdefault(_ANY if piece.startswith("{") else piece + "/", {})
        node[_HERE] = read


class _Read:
    """One route."""

    def __init__(self, route: APIRoute, wired: Services) -> None:
        dependant = route.dependant
        self.route = route
        self._wired = wired
        self._is_asked_again = route.path in ASKED_AGAIN
        self._call: Callable[..., Awaitable[object]] = dependant.call  # type: ignore[assignment]
        self._needs = {need.name: need.call for need in dependant.dependencies if need.name is not None}
        self._names = [piece[1:-1] for piece in route.path.split("/") if piece.startswith("{")]
        self._in_path = dependant.path_params
        self._in_query = dependant.query_params
        self._absent = request_params_to_args(self._in_query, QueryParams(b""))
        self._shape: Any = route.response_field

    async def answer(self, scope: Scope, receive: Receive, send: Send, in_path: list[str]) -> None:
        """Answer the request. Raises the `HubError` that is the answer when it is no other."""
        scope["route"] = self.route
        principal = await identified(scope, self._wired, "GET", self.route.path, is_asked_again=self._is_asked_again)
        values, faults = request_params_to_args(self._in_path, dict(zip(self._names, in_path, strict=True)))
        query = scope["query_string"]
        found, more = request_params_to_args(self._in_query, QueryParams(query)) if query else self._absent
        if faults or more:
            raise invalid([*faults, *more])
        values.update(found)
        for name, need in self._needs.items():
            values[name] = principal if need is caller else self._wired if need is services else peer(scope)
        try:
            result = await self._call(**values)
        except ValidationError as error:
            raise invalid(error.errors(include_url=False, include_context=False, include_input=False)) from error
        if isinstance(result, Response):
            await result(scope, receive, send)
            return
        body = self._written(result)
        head = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _written(self, result: object) -> bytes:
        value, faults = self._shape.validate(result, {}, loc=("response",))
        if faults:
            raise ValueError(f"the answer of {self.route.path} is not what is promised: {faults}")
        written: bytes = self._shape.serialize_json(value)
        return written


def _find(node: _Node, pieces: list[str], place: int, values: list[str]) -> _Node | None:
    """The end of this path, and what the path says; what is spelled out goes before what may be anything."""
    if place == len(pieces):
        return node if _HERE in node else None
    piece = pieces[place]
    if (below := node.get(piece + "/")) is not None:
        found = _find(below, pieces, place + 1, values)
        if found is not None:
            return found
    if piece and (below := node.get(_ANY)) is not None:
        values.append(piece)
        found = _find(below, pieces, place + 1, values)
        if found is not None:
            return found
        values.pop()
    return None


def _is_plain(route: APIRoute) -> bool:
    dependant = route.dependant
    needs = {need.call for need in dependant.dependencies}
    asks_for_more = (
        route.body_field
        or dependant.header_params
        or dependant.cookie_params
        or dependant.request_param_name
        or dependant.http_connection_param_name
        or dependant.response_param_name
        or dependant.background_tasks_param_name
        or dependant.security_scopes_param_name
    )
    answers = route.status_code in (None, 200)
    return route.methods == {"GET"} and caller in needs <= {caller, services, address} and answers and not asks_for_more
