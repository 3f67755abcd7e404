"""The servers that are compared."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack

from loadtests.bench.contender import Contender, Missing, token
from loadtests.bench.crowd import Place
from loadtests.bench.hub_contenders import Hub
from loadtests.bench.publisher import Link, SocketsLink

SERVERS = Path(__file__).resolve().parent / "servers"
# One process: master_process off, so that what counts is the process that was started.
NCHAN = """
load_module {module};
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
  access_log off; nchan_shared_memory_size 512M;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/ws/(\\w+)$ {{
      nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
      nchan_websocket_ping_interval 25s;
    }}
    location ~ ^/publish/(\\w+)$ {{ nchan_publisher websocket; nchan_channel_id $1; nchan_store_messages off; }}
  }}
}}
"""


class Limit(Contender):
    """What the machine can do: C, epoll, no rules at all."""

    name = "C limit"

    def prepare(self) -> None:
        if shutil.which("gcc") is None:
            raise Missing("there is no gcc")
        subprocess.run(["gcc", "-O2", "-o", self._program, SERVERS / "limit.c"], check=True, capture_output=True)

    @property
    def _program(self) -> str:
        return str(self.setting.build / "limit")

    def command(self) -> list[str]:
        return [self._program, str(self.port), str(self.setting.redis_port)]


class Plain(Contender):
    """A WebSocket of FastAPI on uvicorn, without Redis, and without anything else."""

    name = "FastAPI on uvicorn"

    def command(self) -> list[str]:
        return _uvicorn("loadtests.bench.servers.plain:app", self.port)


class Naive(Contender):
    """FastAPI and redis-py as everybody writes it."""

    name = "FastAPI + redis-py"

    def command(self) -> list[str]:
        return _uvicorn("loadtests.bench.servers.naive:app", self.port)


class Broadcast(Contender):
    """The `websockets` library and what it has for the same to many."""

    name = "websockets.broadcast"

    def command(self) -> list[str]:
        return [sys.executable, str(SERVERS / "broadcast.py"), str(self.port)]


class PythonSocketIO(Contender):
    """python-socketio with its Redis manager."""

    name = "python-socketio + Redis"

    def command(self) -> list[str]:
        return _uvicorn("loadtests.bench.servers.python_socketio:app", self.port)

    def places(self, sessions: int, watchers: int) -> list[Place]:
        return _socket_io_places(sessions, watchers)

    def token(self, session: int, number: int) -> tuple[bytes, bytes]:
        message = {
            "method": "emit", "event": "token", "data": [token(session, number)], "binary": False, "namespace": "/",
            "room": str(session), "skip_sid": None, "callback": None, "host_id": "bench",
        }  # fmt: skip
        return b"socketio", json.dumps(message).encode()


class _Node(Contender):
    script: str

    def prepare(self) -> None:
        if shutil.which("npm") is None:
            raise Missing("there is no npm")
        folder = self.setting.build / "node"
        if not folder.exists():
            shutil.copytree(SERVERS, folder, ignore=shutil.ignore_patterns("*.py", "*.c", "__pycache__"))
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise Missing(f"npm ci failed: {done.stderr[-300:]}")

    def command(self) -> list[str]:
        return ["node", str(self.setting.build / "node" / self.script), str(self.port)]


class NodeWs(_Node):
    """Node's ws with ioredis."""

    name = "Node ws + ioredis"
    script = "node_ws.mjs"


class SocketIO(_Node):
    """Socket.IO with its Redis adapter."""

    name = "Socket.IO + Redis"
    script = "node_socketio.mjs"

    def places(self, sessions: int, watchers: int) -> list[Place]:
        return _socket_io_places(sessions, watchers)

    def token(self, session: int, number: int) -> tuple[bytes, bytes]:
        packet = {"type": 2, "data": ["token", token(session, number)], "nsp": "/"}
        options = {"rooms": [str(session)], "except": [], "flags": {}}
        return b"socket.io#/#%d#" % session, msgpack.packb(["bench", packet, options])


class Nchan(Contender):
    """nginx with the Nchan module, one process. It takes tokens itself, over one WebSocket for each session, and keeps
    none: its Redis mode shares no tokens over Redis either, and asks more of it."""

    name = "Nchan (in memory, no Redis)"

    def prepare(self) -> None:
        module = next(iter(Path("/usr").glob("lib/nginx/modules/ngx_nchan_module.so")), None)
        if shutil.which("nginx") is None or module is None:
            raise Missing("there is no nginx with Nchan (apt-get install nginx libnginx-mod-nchan)")
        folder = self.setting.build / "nchan"
        folder.mkdir()
        self._configuration.write_text(NCHAN.format(module=module, folder=folder, port=self.port))

    @property
    def _configuration(self) -> Path:
        return self.setting.build / "nchan" / "nginx.conf"

    def command(self) -> list[str]:
        return ["nginx", "-c", str(self._configuration), "-p", str(self._configuration.parent)]

    async def link(self, sessions: int) -> Link:
        return await SocketsLink.open(f"http://127.0.0.1:{self.port}", [f"/publish/{n}" for n in range(sessions)])


def _uvicorn(app: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"),
        *("--no-access-log", "--loop", "uvloop"),
    ]


def _socket_io_places(sessions: int, watchers: int) -> list[Place]:
    return [
        Place(f"/socket.io/?EIO=4&transport=websocket&s={session}", says=(b"40",))
        for _ in range(watchers)
        for session in range(sessions)
    ]


ALL: tuple[type[Contender], ...] = (Hub, Limit, Nchan, NodeWs, SocketIO, Broadcast, Naive, PythonSocketIO)
