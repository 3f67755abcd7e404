"""The agent servers that are compared: how each is installed and started, and who watches a run of it."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from loadtests.account import Account
from loadtests.bench.agents.talk import Talk
from loadtests.bench.contenders import Missing
from loadtests.bench.processes import ROOT
from loadtests.judge import script
from loadtests.watcher import Watcher
from loadtests.wire import Wire, upgrade

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-hub-bench"
RUN_S = 600.0


class Watch(ABC):
    """One person in one new session, who says one thing and watches the run."""

    @abstractmethod
    async def connect(self) -> None:
        """Make the session and connect. Raises `OSError`, `TimeoutError`."""

    @abstractmethod
    async def run(self) -> None:
        """Say it and wait until the run has ended. Raises `TimeoutError`, `RuntimeError`."""

    @abstractmethod
    def wrong(self) -> str | None:
        """What is wrong with what came; None when every token did, in its place."""

    @abstractmethod
    def close(self) -> None:
        """Go."""


class AgentServer(ABC):
    """One server on `port`; `folder` is a directory of its own for what it writes."""

    name: str
    package: str

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def prepare(self, *, install: bool) -> None:  # noqa: B027 - the hub is here already
        """Install what it needs, or find that it is installed. Raises `Missing`."""

    @abstractmethod
    def command(self, talk: Talk) -> list[str]:
        """How to start it."""

    def environment(self, talk: Talk) -> dict[str, str]:  # noqa: ARG002 - the hub is told in the message
        """Variables it needs."""
        return {}

    @property
    @abstractmethod
    def ready_path(self) -> str:
        """What answers when people may come."""

    @abstractmethod
    def watch(self, talk: Talk) -> Watch:
        """Somebody who has not connected yet."""

    def python(self) -> str:
        """The interpreter of its environment."""
        return sys.executable

    def versions(self) -> str:
        """What runs."""
        names = [name for name in (self.package, "autogen-agentchat", "uvicorn", "uvloop") if name]
        ask = (
            "import importlib.metadata as m, sys\n"
            "have = {d.name.lower(): d.version for d in m.distributions()}\n"
            "print(', '.join(f'{n} {have[n]}' for n in sys.argv[1:] if n in have))"
        )
        said = subprocess.run([self.python(), "-c", ask, *names], check=True, capture_output=True, text=True)
        return said.stdout.strip()

    def is_ready(self) -> bool:
        """Whether people may come."""
        try:
            urllib.request.urlopen(self.url + self.ready_path, timeout=5).close()
        except OSError:
            return False
        return True


class Hub(AgentServer):
    """This hub as `hub serve` starts it: a supervisor, a worker, PostgreSQL, Valkey."""

    name = "Agent Hub"
    package = ""
    ready_path = "/readyz"

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(port, folder)
        self._account = Account(self.url)

    def command(self, talk: Talk) -> list[str]:  # noqa: ARG002
        return [sys.executable, "-m", "hub", "serve", "--port", str(self.port), "--data-dir", str(self.folder / "hub")]

    def environment(self, talk: Talk) -> dict[str, str]:  # noqa: ARG002
        return {"HUB_DEFAULT_MODEL": "scripted"}

    def watch(self, talk: Talk) -> Watch:
        return _HubWatch(self.url, self._account, talk)


class _HubWatch(Watch):
    def __init__(self, url: str, account: Account, talk: Talk) -> None:
        self._url, self._account, self._talk = url, account, talk
        self._watcher = Watcher()
        self._session = ""

    async def connect(self) -> None:
        await self._watcher.connect(self._url, await asyncio.to_thread(self._account.token))
        self._session = (await self._watcher.ask("session.create", team="scripted-autogen"))["id"]
        await self._watcher.join(self._session)

    async def run(self) -> None:
        run = await self._watcher.say(self._session, script(self._talk.tokens, 0, self._talk.turns))
        if not await self._watcher.finished(run, RUN_S):
            raise TimeoutError("the run did not end")

    def wrong(self) -> str | None:
        judge = self._watcher.judge
        if judge.anomalies:
            return str(dict(judge.anomalies))
        if (judge.completed, judge.tokens) != (self._talk.turns, self._talk.total) and judge.snapshots == 0:
            return f"{judge.completed} messages, {judge.tokens} tokens"
        return None

    def close(self) -> None:
        self._watcher.close()


class _Apart(AgentServer):
    """A server in an environment of its own."""

    requirements: str

    @property
    def _venv(self) -> Path:
        return HOME / self.package

    def python(self) -> str:
        return str(self._venv / "bin" / "python")

    def prepare(self, *, install: bool) -> None:
        wanted, stamp = HERE / self.requirements, self._venv / "requirements.sha256"
        digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        if not install:
            raise Missing("not installed; --install does it, in an environment of its own")
        print(f"installing {self.package} in {self._venv}; this happens once …", flush=True)
        pip = [self.python(), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(self._venv)],
            [*pip, "--no-deps", "-r", str(wanted)],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Missing(f"cannot be installed: {(done.stderr or done.stdout)[-300:]}")
        stamp.write_text(digest)

    def environment(self, talk: Talk) -> dict[str, str]:  # noqa: ARG002
        # Its home is a folder of the bench's: they write there, and may read what is the user's.
        return {"HOME": str(self.folder), "PYTHONPATH": str(ROOT)}


class Studio(_Apart):
    """AutoGen Studio's own server, its own WebSocket route for runs, its database as it comes (SQLite)."""

    name = "AutoGen Studio"
    package = "autogenstudio"
    requirements = "requirements-studio.txt"
    ready_path = "/api/version"

    def command(self, talk: Talk) -> list[str]:  # noqa: ARG002
        program = str(Path(self.python()).with_name("autogenstudio"))
        return [program, "ui", "--port", str(self.port), "--appdir", str(self.folder / "app")]

    def watch(self, talk: Talk) -> Watch:
        return _StudioWatch(self.url, talk)


class Chainlit(_Apart):
    """Chainlit with a small app as AutoGen's sample for it is; it keeps nothing."""

    name = "Chainlit"
    package = "chainlit"
    requirements = "requirements-chainlit.txt"
    ready_path = "/"

    def command(self, talk: Talk) -> list[str]:  # noqa: ARG002
        program = str(Path(self.python()).with_name("chainlit"))
        return [program, "run", "--headless", "--port", str(self.port), str(HERE / "chainlit_app.py")]

    def environment(self, talk: Talk) -> dict[str, str]:
        return super().environment(talk) | {
            "BENCH_TEAM": json.dumps(talk.team()),
            "CHAINLIT_APP_ROOT": str(self.folder),
        }

    def watch(self, talk: Talk) -> Watch:
        return _ChainlitWatch(self.url, talk)


class _SocketWatch(Watch):
    """What watchers of the others share. `said` is what was streamed, message by message."""

    def __init__(self, url: str, talk: Talk) -> None:
        self._url, self._talk = url, talk
        self.said: list[str] = []
        self._tokens = 0
        self._early = list[bytes]()
        self._failure = ""
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._wire: Wire | None = None

    async def _open(self, path: str) -> None:
        self._wire = await upgrade(self._url, path, (), self._hear)
        self._wire.closed.add_done_callback(lambda closed: self._fail(f"closed with {closed.result()}"))
        for payload in self._early:
            self._see(payload)
        async with asyncio.timeout(RUN_S):
            await self._ready.wait()

    def _hear(self, payload: bytes) -> None:
        if self._wire is None:  # it came with the handshake's answer
            self._early.append(payload)
        else:
            self._see(payload)

    async def _until_ended(self) -> None:
        async with asyncio.timeout(RUN_S):
            await self._ended.wait()
        if self._failure:
            raise RuntimeError(self._failure)

    def _fail(self, why: str) -> None:
        if not self._ended.is_set():
            self._failure = why
        self._ready.set()
        self._ended.set()

    def _send(self, text: str) -> None:
        assert self._wire is not None
        self._wire.send(text.encode())

    def _add(self, text: str) -> None:
        self.said[-1] += text
        self._tokens += 1

    def wrong(self) -> str | None:
        if self.said != self._talk.texts():
            return f"{len(self.said)} messages of {[len(text.split()) for text in self.said]} words"
        return None if self._tokens == self._talk.total else f"{self._tokens} tokens"

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    @abstractmethod
    def _see(self, payload: bytes) -> None: ...


class _StudioWatch(_SocketWatch):
    async def connect(self) -> None:
        who = {"user_id": "guestuser@gmail.com"}  # whom it takes everybody for
        session = await asyncio.to_thread(self._post, "/api/sessions/", {**who, "name": uuid.uuid4().hex})
        run = await asyncio.to_thread(self._post, "/api/runs/", {**who, "session_id": session["data"]["id"]})
        await self._open(f"/api/ws/runs/{run['data']['run_id']}")
        self._in_message = False

    async def run(self) -> None:
        self._send(json.dumps({"type": "start", "task": "Talk.", "files": [], "team_config": self._talk.team()}))
        await self._until_ended()

    def _see(self, payload: bytes) -> None:
        frame = json.loads(payload)
        match frame["type"]:
            case "system":
                self._ready.set()
            case "message_chunk":
                if not self._in_message:
                    self.said.append("")
                    self._in_message = True
                self._add(frame["data"]["content"])
            case "message":
                self._in_message = False
            case "result":
                self._ended.set()
            case "completion" | "error":
                self._fail(str(frame)[:500])
            case _:
                pass

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


class _ChainlitWatch(_SocketWatch):
    """Engine.IO and Socket.IO by hand: packets are `40`, `42[event, data]`, and `2` for a ping."""

    async def connect(self) -> None:
        self._asked = self._begun = False
        await self._open("/ws/socket.io/?EIO=4&transport=websocket")

    async def run(self) -> None:
        self._asked = True
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        message = {"id": str(uuid.uuid4()), "threadId": "", "name": "user", "type": "user_message", "output": "Talk."}
        self._event("client_message", {"message": {**message, "createdAt": now}, "fileReferences": []})
        await self._until_ended()

    def _event(self, *parts: Any) -> None:
        self._send("42" + json.dumps(parts))

    def _see(self, payload: bytes) -> None:
        match payload[:2]:
            case b"42":
                self._take(*json.loads(payload[2:]))
            case b"2":
                self._send("3")
            case b"40":
                self._event("connection_successful")
            case b"44":
                self._fail(payload.decode())
            case packet if packet[:1] == b"0":
                auth = {"sessionId": str(uuid.uuid4()), "clientType": "webapp", "userEnv": "{}"}
                self._send("40" + json.dumps(auth))
            case _:
                pass

    def _take(self, event: str, data: Any = None) -> None:
        match event:
            case "task_start":
                self._begun = True
            case "task_end" if self._asked:
                self._ended.set()
            case "task_end" if self._begun:  # what is done when a chat begins; one more comes before that
                self._ready.set()
            case "stream_start":
                self.said.append("")
                self._add(data["output"])
            case "stream_token":
                self._add(data["token"])
            case _:
                pass


ALL: tuple[type[AgentServer], ...] = (Hub, Studio, Chainlit)
