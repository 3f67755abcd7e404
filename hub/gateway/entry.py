"""Who may come in: the checks of a handshake, cheapest first, and of a first frame."""

import asyncio

import structlog
from uvicorn._types import WebSocketScope

from hub.auth.authenticator import Authenticator
from hub.auth.hosts import Hosts
from hub.auth.rate_limits import RateLimits, check
from hub.domain.errors import Forbidden, HubError, Internal, Unauthenticated, Unavailable
from hub.domain.principal import Principal
from hub.gateway.credentials import Shown, origin, origin_allowed, shown_credential
from hub.gateway.incoming import End
from hub.gateway.options import GatewayOptions
from hub.gateway.parse import BadFrame, parse_command
from hub.gateway.transport import HubWebSocket
from hub.protocol.close import Close
from hub.protocol.commands import Auth

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

    def shown(self, request: WebSocketScope, sockets: int) -> tuple[Shown, str | None]:
        """What is shown with a handshake that is good so far, and its origin. `sockets` counts this one too.

        Raises `HubError`: the handshake is to be refused.
        """
        if (client := request["client"]) is not None:  # first: also who is refused for other reasons asks often
            check(self._limits.from_address(client[0]))
        self._hosts.check([value for name, value in request["headers"] if name == b"host"])
        found = origin(request)
        if not origin_allowed(request, found, self._options.allowed_origins):
            raise Forbidden("this origin is not allowed: list it in HUB_ALLOWED_ORIGINS")
        if sockets > self._options.connections:  # before any hash is computed
            raise Unavailable("too many connections", retry_after=RETRY_AFTER_S)
        return shown_credential(request), found

    def known(self, shown: Shown) -> Principal | None:
        """Who shows this, if that need not be asked."""
        return self._authenticator.known(shown.token) if shown.token is not None else None

    async def principal(self, shown: Shown, origin: str | None) -> Principal:
        """Who shows this credential, by what the database says now. Raises `HubError`, as `shown`."""
        try:
            async with asyncio.timeout(AUTHENTICATE_S), self._turn:
                if (known := self.known(shown)) is not None:  # somebody with the same had the turn before
                    return known
                if shown.token is not None:
                    return await self._authenticator.bearer(shown.token)
                assert shown.ticket is not None, "something was shown"
                return await self._authenticator.ticket(shown.ticket, origin)
        except TimeoutError:
            raise Unavailable("the hub did not answer in time", retry_after=RETRY_AFTER_S) from None
        except HubError:
            raise
        except Exception:  # noqa: BLE001 - boundary: one handshake; the client gets a code, the log the rest
            self._log.exception("authentication failed")
            raise Internal("internal error") from None

    async def first_frame(self, peer: HubWebSocket) -> tuple[Auth, Principal]:
        """The `auth` command that a connection without a credential must begin with, and who it is.

        Raises `TurnedAway`.
        """
        try:
            async with asyncio.timeout(self._options.first_frame_s):
                message = await _Listening(peer).first()
            command = parse_command(message) if isinstance(message, str) else None
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


class _Listening:
    """Owns a connection until its first message has come; nothing is written meanwhile."""

    def __init__(self, peer: HubWebSocket) -> None:
        self._peer = peer
        self._told = asyncio.Event()
        peer.open(self, stall_s=AUTHENTICATE_S)

    async def first(self) -> str | bytes | End | None:
        await self._told.wait()
        return self._peer.take()

    def arrived(self) -> None:
        self._told.set()

    def hold(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def stalled(self) -> None:
        self._peer.drop()
