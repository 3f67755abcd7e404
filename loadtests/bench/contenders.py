"""The servers that are compared: how each is started, where its clients connect, what is published for it."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import urllib.request
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import msgpack
import orjson

from hub.domain.ids import RunId, SessionId
from hub.protocol.frames import DeltaFrames
from hub.relay import envelope, keys
from loadtests.account import Account
from loadtests.bench.crowd import Place
from loadtests.bench.processes import tree
from loadtests.bench.publisher import Link, RedisLink, SocketsLink

SERVERS = Path(__file__).resolve().parent / "servers"
TEXT = "lorem ipsum dolor "
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


class Missing(Exception):
    """A contender cannot be run here; why."""


@dataclass
class Setting:
    """What all have in common."""

    redis_port: int
    build: Path  # a directory for what is made for the run

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}"


class Contender(ABC):
    """One server process on `port`."""

    name: str
    marker = b'"type":"token"'

    def __init__(self, setting: Setting, port: int) -> None:
        self.setting = setting
        self.port = port

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Build or install what it needs. Raises `Missing`."""

    @abstractmethod
    def command(self) -> list[str]:
        """How to start it."""

    def environment(self) -> dict[str, str]:
        """Variables it needs."""
        return {"BENCH_REDIS": self.setting.redis_url}

    def places(self, sessions: int, watchers: int) -> list[Place]:
        """Where the clients connect: one of every session, then the next of every session …"""
        return [Place(f"/ws/{session}") for _ in range(watchers) for session in range(sessions)]

    def idle_places(self, count: int) -> list[Place]:
        """Where clients connect that only stay."""
        return [Place("/ws/0")] * count

    def token(self, session: int, number: int) -> tuple[bytes, bytes]:
        """Channel and payload of a token: about 120 bytes of JSON for the client."""
        return b"tok:%d" % session, self._json(session, number)

    async def link(self, sessions: int) -> Link:  # noqa: ARG002 - Redis has all of them
        """How tokens come to it."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(RedisLink, "127.0.0.1", self.setting.redis_port)
        return link

    def is_ready(self) -> bool:
        """Whether clients may come."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def processes(self, started: int) -> list[int]:
        """Whose processor time counts."""
        return [started]

    def holders(self, started: int) -> list[int]:
        """Those of the processes whose memory grows with connections."""
        return self.processes(started)

    @staticmethod
    def _json(session: int, number: int) -> bytes:
        return orjson.dumps(_token(session, number))


def _token(session: int, number: int) -> dict[str, object]:
    return {
        "type": "token", "session": f"s{session:04}", "seq": number, "t": 1700000000000, "agent": "writer",
        "text": TEXT * 2,
    }  # fmt: skip


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
            "method": "emit", "event": "token", "data": [_token(session, number)], "binary": False, "namespace": "/",
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
        packet = {"type": 2, "data": ["token", _token(session, number)], "nsp": "/"}
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


@dataclass
class _Session:
    """A session of the hub in which a message is being written."""

    channel: bytes
    id: SessionId
    message: str
    frames: DeltaFrames
    seq: int


class Hub(Contender):
    """This hub: a gateway worker with all its rules, PostgreSQL and sessions that are real; what a runner would publish
    is published for it."""

    name = "Agent Hub"
    marker = b'"type":"message.delta"'

    def __init__(self, setting: Setting, port: int) -> None:
        super().__init__(setting, port)
        self._sessions: list[_Session] = []
        self._account = Account(f"http://127.0.0.1:{port}")
        self._made: dict[int, list[str]] = {}  # sessions, by how many were asked for

    def command(self) -> list[str]:
        data = str(self.setting.build / "hub")
        return [
            *(sys.executable, "-m", "hub", "serve", "--role", "gateway", "--workers", "1"),
            *("--port", str(self.port), "--data-dir", data),
        ]

    def environment(self) -> dict[str, str]:
        return {"HUB_REDIS_URL": self.setting.redis_url, "HUB_DEFAULT_MODEL": "scripted"}

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).close()
        except OSError:
            return False
        return True

    def idle_places(self, count: int) -> list[Place]:
        return [Place("/v1/ws", self._headers())] * count

    def _headers(self) -> tuple[str, ...]:
        return "Sec-WebSocket-Protocol: hub.v1", f"Authorization: Bearer {self._account.token()}"

    def places(self, sessions: int, watchers: int) -> list[Place]:
        headers = self._headers()
        if sessions not in self._made:
            made = [self._account.post("/v1/sessions", {"team": "scripted"}) for _ in range(sessions)]
            self._made[sessions] = [session["id"] for session in made]
        ids = [SessionId(text) for text in self._made[sessions]]
        self._sessions = [self._begin(session) for session in ids]
        return [
            Place(
                "/v1/ws",
                headers,
                (orjson.dumps({"id": "1", "type": "session.join", "session": str(session), "after_seq": 1}),),
            )
            for _ in range(watchers)
            for session in ids
        ]

    def token(self, session: int, number: int) -> tuple[bytes, bytes]:
        there = self._sessions[session]
        frame = there.frames.delta(number, TEXT)
        return there.channel, envelope.delta(there.id, there.message, number, there.seq, frame)

    def processes(self, started: int) -> list[int]:
        children = Path(f"/proc/{started}/task/{started}/children").read_text().split()
        found = [int(pid) for pid in children if "hub" in Path(f"/proc/{pid}/cmdline").read_text()]
        return [started, *found]

    @staticmethod
    def _begin(session: SessionId) -> _Session:
        message = str(uuid.uuid4())
        frames = DeltaFrames(session, RunId(str(uuid.uuid4())), message, 0, "alpha", "Alpha")
        return _Session(keys.channel(session), session, message, frames, 1)


class WholeHub(Hub):
    """The hub as `hub serve` starts it: with agents, and PostgreSQL and Valkey of its own, which count."""

    def command(self) -> list[str]:
        data = str(self.setting.build / "hub")
        return [sys.executable, "-m", "hub", "serve", "--port", str(self.port), "--data-dir", data]

    def environment(self) -> dict[str, str]:
        return {"HUB_DEFAULT_MODEL": "scripted"}

    def processes(self, started: int) -> list[int]:
        return tree(started)

    def holders(self, started: int) -> list[int]:
        return [pid for pid in tree(started) if Path(f"/proc/{pid}/comm").read_text().startswith("hub")]


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
