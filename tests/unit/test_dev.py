"""`dev.py`: what it installs and when, what it says, with a stand-in for uv and for the interpreter it makes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

import dev

ROOT = Path(dev.__file__).parent

UV = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
    *model.txt*) exit {model} ;;
    *app.txt*|*dev.txt*) exit {main} ;;
    venv*) mkdir -p {venv}/bin {venv}/lib/python3.11/site-packages; ln -sf {python} {venv}/bin/python ;;
esac
"""


class Box:
    """A place of its own for .venv, with a `uv` on the PATH that only writes down what it is asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.log = folder / "uv.log"
        for name, path in (("VENV", ""), ("PYTHON", "bin/python"), ("STATE", "agent-hub.json")):
            monkeypatch.setattr(dev, name, self.venv / path)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self.answers()

    def answers(self, *, main: int = 0, model: int = 0) -> None:
        uv = self.folder / "uv"
        uv.write_text(UV.format(log=self.log, venv=self.venv, python=sys.executable, main=main, model=model))
        uv.chmod(0o755)

    def interpreter(self, script: str) -> None:
        """Put a shell script in the place of the interpreter."""
        dev.PYTHON.unlink()
        dev.PYTHON.write_text(f"#!/bin/sh\n{script}\n")
        dev.PYTHON.chmod(0o755)

    def installed(self) -> set[str]:
        """The locks that were asked for since the last look."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return {name for name in ("app", "dev", "model") if f"{name}.txt" in text}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_setup_installs_once_and_makes_the_command(box: Box) -> None:
    assert dev.setup("app") == 0
    assert box.installed() == {"app", "model"}
    assert dev.setup("app") == 0
    assert box.installed() == set()
    box.interpreter('echo "$@"')
    launched = subprocess.run([box.venv / "bin/hub", "serve"], capture_output=True, text=True, check=True)
    assert launched.stdout == "-m hub serve\n"
    assert str(ROOT) in (box.venv / "lib/python3.11/site-packages/agent_hub.pth").read_text()


def test_what_the_tests_need_includes_what_the_hub_needs(box: Box) -> None:
    assert dev.setup("dev") == 0
    assert box.installed() == {"dev", "model"}
    assert dev.setup("app") == 0
    assert box.installed() == set()


def test_a_changed_lock_is_installed(box: Box) -> None:
    dev.setup("app")
    box.installed()
    dev.STATE.write_text(json.dumps({**json.loads(dev.STATE.read_text()), "app": "of yesterday"}))
    assert dev.setup("app") == 0
    assert box.installed() == {"app"}


def test_without_the_model_it_goes_on_and_says_so_loudly(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.answers(model=1)
    assert dev.setup("app") == 0
    assert "THE LOCAL MODEL IS NOT INSTALLED" in capsys.readouterr().err
    box.installed()
    assert dev.setup("app") == 0
    assert box.installed() == set(), "it is not tried at every start"
    assert dev.setup("app", again=True) == 0
    assert box.installed() == {"model"}


def test_without_the_dependencies_it_ends_and_tries_again_next_time(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.answers(main=1)
    assert dev.setup("app") == 1
    assert "package index" in capsys.readouterr().err
    box.answers()
    box.installed()
    assert dev.setup("app") == 0
    assert "app" in box.installed()


def test_a_python_that_cannot_make_environments_is_told_what_to_install(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(box.folder / "empty"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert dev.setup("app") == 1
    assert "apt-get install python3." in capsys.readouterr().err


@pytest.mark.parametrize(("words", "code"), [(["help"], 0), ([], 0), (["dance"], 2)])
def test_it_explains_itself(words: list[str], code: int) -> None:
    ended = subprocess.run([sys.executable, "dev.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert "run [options of hub serve]" in ended.stdout


class Registration(BaseHTTPRequestHandler):
    """Answers every registration with `status`."""

    status = 201
    asked: list[dict[str, str]] = []  # noqa: RUF012 - of the one server of a test

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Registration]]]:
    monkeypatch.setattr(dev, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(Registration, "asked", [])
    with HTTPServer(("127.0.0.1", 0), Registration) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Registration
        server.shutdown()
        thread.join()


def test_the_demo_user_keeps_its_password(
    registration: tuple[str, type[Registration]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, hub = registration
    first = dev.demo_user(url)
    assert (dev.DATA_DIR / "demo.json").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(hub, "status", 409)
    assert dev.demo_user(url) == first
    assert hub.asked[0] == hub.asked[1]
    assert hub.asked[0]["password"] in first


@pytest.mark.parametrize("status", [403, 409])
def test_where_nobody_can_register_it_names_the_command(
    registration: tuple[str, type[Registration]], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    url, hub = registration
    monkeypatch.setattr(hub, "status", status)
    assert "hub user create" in dev.demo_user(url)
    assert not (dev.DATA_DIR / "demo.json").exists()


def test_run_says_what_is_where_and_ends_as_the_hub_ends(
    box: Box, registration: tuple[str, type[Registration]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = registration
    dev.setup("app")
    box.interpreter(f'echo "ready {url}"; exit 7')
    handlers = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert dev.run([]) == 7
    finally:
        for sig, handler in handlers.items():
            signal.signal(sig, handler)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"ready {url}"
    for words in (f"{url}/docs", "demo / ", "dev.py chat", "SmolLM2", "Ctrl-C"):
        assert words in shown
