"""Refuses requests that name another host."""

from starlette.types import ASGIApp, Receive, Scope, Send

from hub.api.rate_limit import PROBES
from hub.auth.hosts import Hosts


class HostCheck:
    """What it refuses is told by the request boundary outside of it. Probes come to an address, not to a name."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            self._hosts.check([value for name, value in scope["headers"] if name == b"host"])
        await self._app(scope, receive, send)
