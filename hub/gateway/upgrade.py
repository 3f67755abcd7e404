"""The request for a WebSocket (RFC 6455, section 4) and its answers, as bytes.

Requests as every client writes them are judged here, at a glance. Whatever is not plainly right is left to the
`websockets` library, which knows all the ways to say it, and what to answer.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus

from websockets.server import ServerProtocol

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONNECTION = frozenset({b"upgrade", b"keep-alive, upgrade"})
_ONCE = frozenset(
    {b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"origin"}
)
_BODY = frozenset({b"content-length", b"transfer-encoding"})
_TOKENS = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+(?:, ?[-!#$%&'*+.^_`|~0-9A-Za-z]+)*")
_UNREADABLE = b"Failed to open a WebSocket connection: the request cannot be read.\n"  # there the library says nothing
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64, spelt as everybody does
_MAX_LINE, _MAX_HEADERS = 8_000, 120  # the library's limits, a little below them

Headers = Sequence[tuple[bytes, bytes]]


class NoUpgrade(Exception):
    """The request cannot be taken; `answer` says so."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


def accept_key(method: bytes, url: bytes, headers: Headers) -> bytes:
    """What proves to the client that its request was understood. `headers` have their names in lower case. Raises
    `NoUpgrade`."""
    found: dict[bytes, bytes] = {}
    size = len(url)
    for name, value in headers:
        if name in _BODY or (name in _ONCE and name in found):
            return _by_the_book(method, url, headers)
        found[name] = value
        size = max(size, len(name) + len(value))
    key = found.get(b"sec-websocket-key", b"")
    protocols = found.get(b"sec-websocket-protocol")
    if (
        method == b"GET"
        and found.get(b"upgrade", b"").lower() == b"websocket"
        and found.get(b"connection", b"").lower() in _CONNECTION
        and found.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(key)
        and (protocols is None or _TOKENS.fullmatch(protocols))
        and url.isascii()
        and size < _MAX_LINE
        and len(headers) < _MAX_HEADERS
    ):
        return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return _by_the_book(method, url, headers)


def _by_the_book(method: bytes, url: bytes, headers: Headers) -> bytes:
    library = ServerProtocol()
    library.debug = False  # it would log Authorization headers
    lines = [b"%b %b HTTP/1.1" % (method, url), *(b"%b: %b" % header for header in headers), b"\r\n"]
    library.receive_data(b"\r\n".join(lines))
    if (request := next(iter(library.events_received()), None)) is not None:
        response = library.accept(request)  # type: ignore[arg-type]  # the first event is the request
        if response.status_code == 101:
            return response.headers["Sec-WebSocket-Accept"].encode()
        library.send_response(response)
    raise NoUpgrade(b"".join(library.data_to_send()) or refusal(400, body=_UNREADABLE))


def switching(key: bytes, subprotocol: str | None, more: Headers) -> bytes:
    """The answer that makes the connection a WebSocket, with these header fields besides."""
    lines = [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "]
    lines.append(key)
    lines += [b"\r\n%b: %b" % header for header in more]
    if subprotocol is not None:
        lines.append(b"\r\nSec-WebSocket-Protocol: " + subprotocol.encode())
    lines.append(b"\r\n\r\n")
    return b"".join(lines)


def refusal(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """An answer that ends the connection."""
    fields = {
        **(headers or {"Content-Type": "text/plain; charset=utf-8"}),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Length": str(len(body)),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
