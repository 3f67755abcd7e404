"""A uvicorn server with the hub's protocol classes around a small application, and a client that speaks bytes."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import uvicorn

from hub.gateway.handshake import HubHttp
from hub.gateway.transport import HubWebSocket
from hub.gateway.upgrade import switching
from hub.process.listen import SEND_BUFFER_BYTES

DEADLINE_S = 30.0


def let_in(key: bytes, peer: HubWebSocket) -> None:
    """Make it a WebSocket."""
    peer.accept(switching(key, None, ()))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: Any,
    *,
    ws: type[HubWebSocket] = HubWebSocket,
    http: type[HubHttp] = HubHttp,
    send_buffer: int | None = SEND_BUFFER_BYTES,
) -> AsyncIterator[int]:
    """Serve `app` on a free port, which is given: for HTTP by ASGI, for WebSockets by its `arrive`. The kernel's buffer
    is as `hub serve` has it, unless the kernel is to choose."""
    config = uvicorn.Config(
        app,
        ws=ws,
        http=http,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=[listening]))
        await eventually(lambda: server.started)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await running


async def eventually(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds, seen from outside
            await asyncio.sleep(0.01)


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """A masked frame, as clients send it."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        head += bytes([0x80 | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return head + bytes(4) + payload  # a mask of zeros changes nothing


class Raw:
    """A WebSocket client made of bytes: it can do what no library does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, path: str = "/", headers: str = "", *, receive_buffer: int | None = None) -> "Raw":
        """Connect and upgrade; raises `AssertionError` when the answer is not 101."""
        raw = await cls.connect(port, receive_buffer=receive_buffer)
        status = await raw.upgrade(path, headers)
        assert status == 101, status
        return raw

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> "Raw":
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        # A small limit: what the test does not read must stay in the kernel.
        return cls(*await asyncio.open_connection(sock=sock, limit=1024))

    async def upgrade(self, path: str = "/", headers: str = "") -> int:
        """Ask for the upgrade; gives the status."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
        )
        async with asyncio.timeout(DEADLINE_S):
            status = int((await self.reader.readline()).split(b" ")[1])
            while await self.reader.readline() not in (b"\r\n", b""):
                pass
        return status

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, within_s: float = DEADLINE_S) -> tuple[int, bytes]:
        """The next frame: opcode and payload. `EOFError` or `ConnectionError` at the end."""
        async with asyncio.timeout(within_s):
            first, second = await self.reader.readexactly(2)
            length = second & 127
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(length)

    async def close_code(self, within_s: float = DEADLINE_S) -> int | None:
        """Read up to the end: the code of the close frame, or None when there was none."""
        async with asyncio.timeout(within_s):
            try:
                while True:
                    opcode, payload = await self.receive(within_s)
                    if opcode == 8:
                        return int.from_bytes(payload[:2])
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def ended(self, within_s: float = DEADLINE_S) -> None:
        """Wait until the peer has ended the connection, by FIN or by RST."""
        async with asyncio.timeout(within_s):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass

    async def leave(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
