"""python-socketio with its Redis manager: a room per session."""

import os
from urllib.parse import parse_qs

import socketio

server = socketio.AsyncServer(
    async_mode="asgi", client_manager=socketio.AsyncRedisManager(os.environ["BENCH_REDIS"]), cors_allowed_origins="*"
)
app = socketio.ASGIApp(server)


@server.event  # type: ignore[untyped-decorator]
async def connect(sid: str, environ: dict[str, str]) -> None:
    """One watcher of one session."""
    await server.enter_room(sid, parse_qs(environ["QUERY_STRING"])["s"][0])
