"""The rate limit of addresses, and how a caller stands as headers of every response."""

import math
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.errors import problem_response
from hub.auth.rate_limits import RateLimits, check
from hub.domain.errors import RateLimited
from hub.relay.allowances import Standing

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})  # whoever watches the hub is never told to wait
HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")


class AddressCount:
    """Counts every request by where it comes from, before anything is read or computed: also those that name another
    host, and what browsers ask before a page may ask (preflights).

    Of what is too much it refuses here what no page of another origin is to read; `AddressLimit` refuses the rest, from
    where pages can read it."""

    def __init__(self, app: ASGIApp, *, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] != "http" or scope["path"] in PROBES or client is None:
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        stand(state, self._limits.from_address(client[0]))
        readable = scope["method"] != "OPTIONS" and any(name == b"origin" for name, _ in scope["headers"])
        if readable or not state["standing"].retry_after_s:
            await self._app(scope, receive, send)
        else:
            await AddressLimit(self._app)(scope, receive, send)


class AddressLimit:
    """Refuses what `AddressCount` has found to be too much. `stand` notes a narrower limit that was met inside; the
    response tells of the narrowest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.setdefault("state", {})
        if "standing" not in state:
            await self._app(scope, receive, send)
            return

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                _tell(MutableHeaders(scope=message), state["standing"])
            await send(message)

        try:
            check(state["standing"])
        except RateLimited as error:
            await problem_response(error, request=state.get("request_id"))(scope, receive, send_with_standing)
        else:
            await self._app(scope, receive, send_with_standing)


def stand(state: dict[str, Any], standing: Standing) -> None:
    """Note how the caller stands, if that is the narrowest so far."""
    before: Standing | None = state.get("standing")
    if before is None or standing.retry_after_s or _share(standing) < _share(before):
        state["standing"] = standing


def _share(standing: Standing) -> float:
    return standing.remaining / standing.allowance.burst


def _tell(headers: MutableHeaders, standing: Standing) -> None:
    allowance = standing.allowance
    headers["RateLimit-Limit"] = str(allowance.burst)
    headers["RateLimit-Remaining"] = str(standing.remaining)
    headers["RateLimit-Reset"] = str(math.ceil(standing.reset_s))
    headers["RateLimit-Policy"] = f"{allowance.per_minute};w=60;burst={allowance.burst}"
