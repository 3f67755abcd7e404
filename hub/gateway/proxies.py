"""Who really asks, when a proxy in between is trusted to say so."""

from collections.abc import Sequence

from uvicorn._types import WebSocketScope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Proxies:
    """By the same rules as REST, which uvicorn applies: its middleware reads the headers, and there is nothing behind
    it."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._middleware = ProxyHeadersMiddleware(_nothing, list(trusted)) if trusted else None

    def look_behind(self, request: WebSocketScope) -> None:
        """Put the client and the scheme that a trusted proxy tells of into the request."""
        if self._middleware is None:
            return
        reading = self._middleware(request, _nothing, _nothing)  # type: ignore[arg-type]
        try:
            reading.send(None)
        except StopIteration:
            return
        raise AssertionError("it has nothing to wait for")


async def _nothing(*_args: object) -> None:
    return
