"""A WebSocket server whose side of the protocol is played by the test: for situations a real hub is rarely in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

DEADLINE_S = 30.0
SESSION = "s1"
AGENT = {"kind": "agent", "name": "writer", "display_name": "Writer"}


class Peer:
    """One connection, seen from the hub."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    @property
    def authorization(self) -> str:
        request = self._socket.request
        assert request is not None
        return str(request.headers["Authorization"])

    async def send(self, *frames: dict[str, Any]) -> None:
        """Send these objects as one server frame."""
        await self._socket.send("\n".join(json.dumps(frame) for frame in frames))

    async def send_raw(self, text: str) -> None:
        await self._socket.send(text)

    async def expect(self, kind: str) -> dict[str, Any]:
        """The next command, which must be of this type."""
        async with asyncio.timeout(DEADLINE_S):
            command: dict[str, Any] = json.loads(await self._socket.recv())
        assert command["type"] == kind, command
        return command

    async def reply(self, command: dict[str, Any], **result: Any) -> None:
        await self.send({"type": "reply", "id": command["id"], "ok": True, "result": result})

    async def refuse(self, command: dict[str, Any], code: str, **error: Any) -> None:
        body = {"code": code, "message": code, "retryable": False, "retry_after": None, "details": {}, **error}
        await self.send({"type": "reply", "id": command["id"], "ok": False, "error": body})

    async def accept_join(
        self, last_seq: int, *frames: dict[str, Any], replay_from: int | None = None
    ) -> dict[str, Any]:
        """Answer a join; `frames` follow the reply in the same WebSocket frame."""
        command = await self.expect("session.join")
        first = command.get("after_seq", 0) + 1 if replay_from is None else replay_from
        result: dict[str, Any] = {
            "session": SESSION,
            "role": "owner",
            "last_seq": last_seq,
            "replay_from": first,
            "presence": [],
        }
        await self.send({"type": "reply", "id": command["id"], "ok": True, "result": result}, *frames)
        return command

    async def close(self, code: int, reason: str = "") -> None:
        await self._socket.close(code, reason)

    async def met(self) -> None:
        """Wait until the other side has read that it is connected."""
        async with asyncio.timeout(DEADLINE_S):
            await (await self._socket.ping())

    async def gone(self) -> None:
        """Wait until the other side has ended the connection."""
        async with asyncio.timeout(DEADLINE_S):
            await self._socket.wait_closed()

    async def abort(self) -> None:
        """Cut the connection without a word."""
        self._socket.transport.abort()


class PlayedHub:
    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []  # HTTP statuses for the next handshakes
        self.hello = True
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def connection(self) -> Peer:
        """The next connection, which has had its hello."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._peers.get()

    async def serve_socket(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        if self.hello:
            await peer.send(hello())
        await self._peers.put(peer)
        await socket.wait_closed()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.statuses:
            return connection.respond(self.statuses.pop(0), "no\n")
        return None


@asynccontextmanager
async def played_hub() -> AsyncIterator[PlayedHub]:
    hub = PlayedHub()
    async with serve(
        hub.serve_socket,
        "127.0.0.1",
        0,
        process_request=hub.check,
        subprotocols=[Subprotocol("hub.v1")],
        close_timeout=1,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        hub.url = f"http://127.0.0.1:{port}"
        yield hub
        server.close(close_connections=True)


def hello() -> dict[str, Any]:
    return {
        "type": "hello",
        "connection": "c1",
        "user": {"id": "u1", "name": "anna"},
        "node": "here:1:x",
        "expires_at": "2026-11-22T20:00:00.000Z",
        "heartbeat_s": 25,
        "limits": {"frame_bytes": 65536, "commands_per_minute": 120, "sessions": 100},
    }


def event(type_: str, seq: int | None = None, *, run: str | None = "r1", **data: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {"type": type_, "session": SESSION, "ts": "2026-11-22T20:00:00.123Z", "data": data}
    if seq is not None:
        frame["seq"] = seq
    if run is not None:
        frame["run"] = run
    return frame


def turn(seq: int, number: int = 0, agent: str = "writer") -> dict[str, Any]:
    return event("turn.started", seq, turn=number, agent=agent, attempt=1)


def delta(index: int, text: str, n: int | None = None, message: str = "m1") -> dict[str, Any]:
    extra: dict[str, Any] = {} if n is None else {"n": n}
    return event("message.delta", message=message, turn=0, author=AGENT, index=index, text=text, **extra)


def snapshot(index: int, text: str, message: str = "m1") -> dict[str, Any]:
    return event("message.snapshot", message=message, turn=0, author=AGENT, index=index, text=text)


def completed(seq: int, text: str, message: str = "m1", status: str = "complete") -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    return event("message.completed", seq, message=message, author=AGENT, text=text, turn=0, status=status, usage=usage)


def finished(seq: int, status: str = "completed", **data: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    return event(
        "run.finished", seq, status=status, reason="", usage=usage, input_seq=1, turns=1, duration_ms=5, **data
    )
