"""Who may come in: the checks of a handshake, cheapest first, and of a first frame."""

import asyncio

import structlog
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, WebSocketScope

from hub.auth.authenticator import Authenticator
from hub.auth.hosts import Hosts
from hub.auth.rate_limits import RateLimits, check
from hub.domain.errors import Forbidden, HubError, Internal, Unauthenticated, Unavailable
from hub.domain.principal import Principal
from hub.gateway.credentials import origin, origin_allowed, shown_credential
from hub.gateway.options import GatewayOptions
from hub.gateway.parse import BadFrame, parse_command
from hub.protocol.close import Close
from hub.protocol.commands import Auth
from hub.protocol.problem import problem, problem_headers

AUTHENTICATE_S = 10.0
AT_ONCE = 8  # the others wait without a connection to PostgreSQL, which those who are in need, too
RETRY_AFTER_S = 5.0  # of a refused handshake


class TurnedAway(Exception):
    """An accepted socket that is to be closed with this code."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Entry:
    """Decides about handshakes. Knows nobody and keeps nothing."""

    def __init__(self, authenticator: Authenticator, limits: RateLimits, options: GatewayOptions) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._options = options
        self._hosts = Hosts(options.allowed_hosts)
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._log = structlog.get_logger("hub.gateway")

    async def principal(self, scope: WebSocketScope, sockets: int) -> Principal | None:
        """Who shows a credential with the handshake; None when none was shown. `sockets` counts this one too.

        Raises `HubError`: the handshake is to be refused.
        """
        if (client := scope["client"]) is not None:  # first: also who is refused for other reasons asks often
            check(self._limits.from_address(client[0]))
        self._hosts.check([value for name, value in scope["headers"] if name == b"host"])
        found = origin(scope)
        if not origin_allowed(scope, found, self._options.allowed_origins):
            raise Forbidden("this origin is not allowed: list it in HUB_ALLOWED_ORIGINS")
        if sockets > self._options.connections:  # before any hash is computed
            raise Unavailable("too many connections", retry_after=RETRY_AFTER_S)
        shown = shown_credential(scope)
        if shown.token is not None and (known := self._authenticator.known(shown.token)) is not None:
            return known
        try:
            async with asyncio.timeout(AUTHENTICATE_S), self._turn:
                if shown.token is not None:
                    return await self._authenticator.bearer(shown.token)
                if shown.ticket is not None:
                    return await self._authenticator.ticket(shown.ticket, found)
                return None
        except TimeoutError:
            raise Unavailable("the hub did not answer in time", retry_after=RETRY_AFTER_S) from None
        except HubError:
            raise
        except Exception:  # noqa: BLE001 - boundary: one handshake; the client gets a code, the log the rest
            self._log.exception("authentication failed")
            raise Internal("internal error") from None

    async def first_frame(self, receive: ASGIReceiveCallable) -> tuple[Auth, Principal]:
        """The `auth` command that a connection without a credential must begin with, and who it is.

        Raises `TurnedAway`.
        """
        try:
            async with asyncio.timeout(self._options.first_frame_s):
                message = await receive()
            command = parse_command(message.get("text")) if message["type"] == "websocket.receive" else None
        except (TimeoutError, BadFrame):
            command = None
        if not isinstance(command, Auth):
            raise TurnedAway(Close.NOT_AUTHENTICATED, "the first frame must authenticate")
        try:
            async with asyncio.timeout(AUTHENTICATE_S), self._turn:
                return command, await self._authenticator.bearer(command.token)
        except Unauthenticated as e:
            raise TurnedAway(Close.NOT_AUTHENTICATED, e.message) from None
        except (HubError, TimeoutError):
            raise TurnedAway(Close.OVERLOADED, "nobody can tell now who this is") from None


async def refuse(send: ASGISendCallable, error: HubError) -> None:
    """Answer the handshake with an HTTP error instead of an upgrade."""
    body = problem(error)
    headers = [(k.encode(), v.encode("latin-1", "replace")) for k, v in problem_headers(error).items()]
    await send({"type": "websocket.http.response.start", "status": body.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body.model_dump_json().encode(), "more_body": False})
