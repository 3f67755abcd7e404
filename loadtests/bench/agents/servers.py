"""The agent servers that are compared: how each is installed and started."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path

from loadtests.account import Account
from loadtests.bench.agents.talk import Talk
from loadtests.bench.agents.watching import ChainlitWatch, HubWatch, StudioWatch, Watch
from loadtests.bench.contender import Missing
from loadtests.bench.processes import ROOT

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-hub-bench"


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
        return HubWatch(self.url, self._account, talk)


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
        return StudioWatch(self.url, talk)


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
        return ChainlitWatch(self.url, talk)


ALL: tuple[type[AgentServer], ...] = (Hub, Studio, Chainlit)
