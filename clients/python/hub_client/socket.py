"""One WebSocket connection: handshake, hello, frames in, frames out. It knows nothing of sessions or of coming back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from hub.protocol import PROTOCOL
from hub.protocol.close import Close
from hub.protocol.frames import Hello, ServerFrame, Unknown, parse_server_frame
from hub_client.errors import NotSignedIn, Stopped, Unreachable
from hub_client.reconnect import Advice, advice

OPEN_TIMEOUT_S = 10.0
PING_S = 15.0  # a peer that is silent for two of them is dead
MAX_SERVER_FRAME = 16 * 1024 * 1024  # bytes; a transcript's largest message with room to spare
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def socket_url(url: str) -> str:
    """The WebSocket address of the hub at `url` (http, https, ws or wss). Raises `ValueError`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url!r} is not the address of a hub; one looks like http://127.0.0.1:8000")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/v1/ws", "", ""))


def rest_url(url: str) -> str:
    """The HTTP address of the hub at `url`. Raises `ValueError`."""
    parts = urlsplit(socket_url(url))
    scheme = "https" if parts.scheme == "wss" else "http"
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix("/v1/ws"), "", ""))


class Socket:
    """A connection after its hello. `ahead` are the lines that came in the same frame, behind it."""

    def __init__(self, connection: ClientConnection, hello: Hello, ahead: Sequence[bytes] = ()) -> None:
        self._connection = connection
        self.hello = hello
        self._ahead = ahead

    async def send(self, text: str) -> None:
        """Send one frame. Raises `websockets.ConnectionClosed`."""
        await self._connection.send(text)

    async def frames(self) -> AsyncIterator[ServerFrame | Unknown]:
        """Everything that comes, until the connection ends. Raises `Stopped` when the peer does not speak hub.v1."""
        for line in self._ahead:
            yield _parse(line)
        try:
            while True:
                for line in (await self._connection.recv(decode=False)).split(b"\n"):
                    yield _parse(line)
        except ConnectionClosed:
            return

    @property
    def close_code(self) -> int | None:
        """The code the hub closed with; None when the connection broke or this side closed it."""
        received = self._connection.protocol.close_rcvd
        return received.code if received is not None else None

    @property
    def close_reason(self) -> str:
        """The hub's words for it, if any."""
        received = self._connection.protocol.close_rcvd
        return received.reason if received is not None else ""

    async def close(self) -> None:
        """Say goodbye; takes two seconds at most."""
        await self._connection.close()


async def open_socket(url: str, token: str) -> Socket:
    """Connect to the WebSocket address `url` and wait for the hello.

    Raises `NotSignedIn` (401), `Stopped` (this hub will not have us as we are), `Unreachable` (may pass).
    """
    try:
        connection = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,  # tokens are tiny: deflate costs memory and time on both sides for nothing
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=2,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=MAX_SERVER_FRAME,
            proxy=None if urlsplit(url).hostname in _LOOPBACK else True,
        )
    except InvalidStatus as e:
        raise _refusal(url, e.response.status_code) from e
    except InvalidURI as e:
        raise Stopped(f"{url} is not the address of a hub") from e
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as e:
        raise Unreachable(f"no hub answers at {url}: {e or type(e).__name__}") from e
    try:
        return await _welcomed(connection)
    except BaseException:  # also when cancelled: nobody else would ever close it
        await connection.close()
        raise


async def _welcomed(connection: ClientConnection) -> Socket:
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            line, *ahead = (await connection.recv(decode=False)).split(b"\n")
    except ConnectionClosed as e:
        code = e.rcvd.code if e.rcvd is not None else None
        if advice(code) is Advice.STOP:
            raise Stopped(e.rcvd.reason if e.rcvd and e.rcvd.reason else "the hub closed the connection", code) from e
        raise Unreachable("the hub closed the connection before it said hello") from e
    except TimeoutError as e:
        raise Unreachable("the hub accepted the connection and then said nothing") from e
    hello = _parse(line)
    if not isinstance(hello, Hello):
        raise Stopped("what answers here does not speak hub.v1", Close.BAD_VERSION)
    return Socket(connection, hello, ahead)


def _parse(line: bytes) -> ServerFrame | Unknown:
    try:
        return parse_server_frame(line)
    except (ValueError, ValidationError, AttributeError) as e:  # AttributeError: JSON, but no object
        raise Stopped("what answers here does not speak hub.v1") from e


def _refusal(url: str, status: int) -> NotSignedIn | Stopped | Unreachable:
    if status == 401:
        return NotSignedIn("the hub does not accept this credential")
    if status == 403:
        return Stopped("the hub does not accept connections from this origin")
    if status in (408, 425, 429) or status >= 500:
        return Unreachable(f"the hub at {url} takes no connections now (HTTP {status})")
    return Stopped(f"no hub at {url} (HTTP {status})")
