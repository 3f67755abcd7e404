"""This hub among those that are compared: one gateway worker, or all of it."""

import sys
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import orjson

from hub.domain.ids import RunId, SessionId
from hub.protocol.frames import DeltaFrames
from hub.relay import envelope, keys
from loadtests.account import Account
from loadtests.bench.contender import TEXT, Contender, Setting
from loadtests.bench.crowd import Place
from loadtests.bench.processes import tree


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
