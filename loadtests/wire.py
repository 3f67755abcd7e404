"""A WebSocket client that costs the load generator as little as possible: RFC 6455 from a client's side, text frames,
no extensions. Not for anything but load: it trusts the hub to be well-behaved, and says when it is not."""

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Wire(asyncio.Protocol):
    """One connection. `on_text` gets the payload of every text frame; `closed` gives the close code (1006: none)."""

    def __init__(self, request: bytes, on_text: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._on_text = on_text
        self._rest = b""  # of an unfinished frame
        self._open = False
        self._code = 1006
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._open and not self._rest:
            self._frames(data)
            return
        self._rest += data
        if self._open or self._upgrade():
            data, self._rest = self._rest, b""
            self._frames(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection ended during the handshake"))
        if not self.closed.done():
            self.closed.set_result(self._code)

    def send(self, text: bytes) -> None:
        """Send one text frame."""
        self._send(TEXT, text)

    def send_frames(self, frames: bytes) -> None:
        """Send what is frames already."""
        self._write(frames)

    def close(self) -> None:
        """Close normally."""
        self._send(CLOSE, struct.pack("!H", 1000))
        if self._transport is not None:
            self._transport.close()

    def _upgrade(self) -> bool:
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head[: head.find(b"\r\n")].decode(errors="replace")
        self._rest = rest
        self._open = " 101 " in status + " "
        if not self._open and self._transport is not None:
            self._transport.close()
        if not self.opened.done():  # else nobody waits any more
            if self._open:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(status))
        return self._open

    def _frames(self, data: bytes) -> None:
        at, size = 0, len(data)
        while size - at >= 2:
            length, head = data[at + 1] & 127, at + 2
            if length > 125:
                head = at + (4 if length == 126 else 10)
                if size < head:
                    break
                length = int.from_bytes(data[at + 2 : head], "big")
            if size < head + length:
                break
            self._frame(data[at] & 15, data[head : head + length])
            at = head + length
        if at < size:
            self._rest = data[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_text(payload)
        elif opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._send(CLOSE, payload[:2])

    def _send(self, opcode: int, payload: bytes) -> None:
        self._write(masked(opcode, payload))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def masked(opcode: int, payload: bytes) -> bytes:
    """A whole frame from a client; shorter than 64 KiB."""
    mask = os.urandom(4)
    length = len(payload)
    head = bytes((128 | opcode, 128 | length)) if length < 126 else struct.pack("!BBH", 128 | opcode, 254, length)
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")


async def open_wire(url: str, token: str, on_text: Callable[[bytes], None]) -> Wire:
    """Connect to the hub at `url` (http). Raises `OSError` when it refuses, `TimeoutError` after 30 s."""
    return await upgrade(url, "/v1/ws", ("Sec-WebSocket-Protocol: hub.v1", f"Authorization: Bearer {token}"), on_text)


async def upgrade(url: str, path: str, headers: tuple[str, ...], on_text: Callable[[bytes], None]) -> Wire:
    """Connect to any server at `url` (http). Raises `OSError` when it refuses, `TimeoutError` after 30 s."""
    parts = urlsplit(url)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers,
    ]  # fmt: skip
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        _, wire = await loop.create_connection(lambda: Wire(request, on_text), parts.hostname or "", parts.port or 80)
        await wire.opened
    return wire
