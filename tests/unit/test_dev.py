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

from devtools import environment, places, running, testing

ROOT = places.ROOT

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
            monkeypatch.setattr(places, name, self.venv / path)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self.answers()

    def answers(self, *, main: int = 0, model: int = 0) -> None:
        uv = self.folder / "uv"
        uv.write_text(UV.format(log=self.log, venv=self.venv, python=sys.executable, main=main, model=model))
        uv.chmod(0o755)

    def interpreter(self, script: str) -> None:
        """Put a shell script in the place of the interpreter."""
        places.PYTHON.unlink()
        places.PYTHON.write_text(f"#!/bin/sh\n{script}\n")
        places.PYTHON.chmod(0o755)

    def installed(self) -> set[str]:
        """The locks that were asked for since the last look."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return {name for name in ("app", "dev", "model", "langchain") if f"{name}.txt" in text}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_an_extra_is_installed_with_what_it_extends_and_once(box: Box) -> None:
    assert environment.setup("app", extra="langchain") == 0
    assert box.installed() == {"app", "model", "langchain"}
    assert environment.setup("app", extra="langchain") == 0
    assert box.installed() == set()
    assert environment.setup("dev") == 0
    assert box.installed() == {"dev"}


def test_the_tests_have_every_extra(box: Box) -> None:
    assert environment.setup("dev") == 0
    assert environment.setup("app", extra="langchain") == 0
    assert box.installed() == {"dev", "model"}


def test_an_example_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert running.example(["nothing"]) == 1
    assert "the examples are bot, langgraph and crewai" in capsys.readouterr().err


def test_setup_installs_once_and_makes_the_command(box: Box) -> None:
    assert environment.setup("app") == 0
    assert box.installed() == {"app", "model"}
    assert environment.setup("app") == 0
    assert box.installed() == set()
    box.interpreter('echo "$@"')
    launched = subprocess.run([box.venv / "bin/hub", "serve"], capture_output=True, text=True, check=True)
    assert launched.stdout == "-m hub serve\n"
    assert str(ROOT) in (box.venv / "lib/python3.11/site-packages/agent_hub.pth").read_text()


def test_what_the_tests_need_includes_what_the_hub_needs(box: Box) -> None:
    assert environment.setup("dev") == 0
    assert box.installed() == {"dev", "model"}
    assert environment.setup("app") == 0
    assert box.installed() == set()


def test_a_changed_lock_is_installed(box: Box) -> None:
    environment.setup("app")
    box.installed()
    places.STATE.write_text(json.dumps({**json.loads(places.STATE.read_text()), "app": "of yesterday"}))
    assert environment.setup("app") == 0
    assert box.installed() == {"app"}


def test_without_the_model_it_goes_on_and_says_so_loudly(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.answers(model=1)
    assert environment.setup("app") == 0
    assert "THE LOCAL MODEL IS NOT INSTALLED" in capsys.readouterr().err
    box.installed()
    assert environment.setup("app") == 0
    assert box.installed() == set(), "it is not tried at every start"
    assert environment.setup("app", again=True) == 0
    assert box.installed() == {"model"}


def test_without_the_dependencies_it_ends_and_tries_again_next_time(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.answers(main=1)
    assert environment.setup("app") == 1
    assert "package index" in capsys.readouterr().err
    box.answers()
    box.installed()
    assert environment.setup("app") == 0
    assert "app" in box.installed()


def test_a_python_that_cannot_make_environments_is_told_what_to_install(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(box.folder / "empty"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert environment.setup("app") == 1
    assert "apt-get install python3." in capsys.readouterr().err


def test_the_demo_needs_a_hub_that_runs(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "DATA_DIR", tmp_path)
    for note in (None, '{"url": "http://127.0.0.1:1"}'):  # never started; ended meanwhile
        if note is not None:
            (tmp_path / "hub.lock").write_text(note)
            (tmp_path / "demo.json").write_text('{"name": "demo", "password": "secret"}')
        assert running.demo([]) == 1
        assert "python3 dev.py run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["help"], 0, "run [options of hub serve]"),
        ([], 0, "run [options of hub serve]"),
        (["rnu"], 2, "there is no command 'rnu': did you mean 'run'?"),
        (["dance"], 2, "`python3 dev.py help` lists all"),
    ],
)
def test_it_explains_itself(words: list[str], code: int, told: str) -> None:
    ended = subprocess.run([sys.executable, "dev.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert told in (ended.stderr if code else ended.stdout)


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
    monkeypatch.setattr(places, "DATA_DIR", tmp_path / "data")
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
    first = running.demo_user(url)
    assert (places.DATA_DIR / "demo.json").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(hub, "status", 409)
    assert running.demo_user(url) == first
    assert hub.asked[0] == hub.asked[1]
    assert hub.asked[0]["password"] in first


@pytest.mark.parametrize("status", [403, 409])
def test_where_nobody_can_register_it_names_the_command(
    registration: tuple[str, type[Registration]], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    url, hub = registration
    monkeypatch.setattr(hub, "status", status)
    assert "hub user create" in running.demo_user(url)
    assert not (places.DATA_DIR / "demo.json").exists()


def test_run_says_what_is_where_and_ends_as_the_hub_ends(
    box: Box, registration: tuple[str, type[Registration]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = registration
    environment.setup("app")
    box.interpreter(f'echo "ready {url}"; exit 7')
    handlers = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert running.run([]) == 7
    finally:
        for sig, handler in handlers.items():
            signal.signal(sig, handler)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"ready {url}"
    for words in (f"{url}/docs", "demo / ", "dev.py chat", "SmolLM2", "Ctrl-C"):
        assert words in shown


def test_a_chat_before_the_first_hub_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "DATA_DIR", tmp_path / "nothing")
    monkeypatch.delenv("HUB_CHAT_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        running.chat([])
    assert ended.value.code == 1
    assert "`python3 dev.py run`" in capsys.readouterr().err


# ---- test

NODE = """#!/bin/sh
case "$(basename $0) $*" in
    "node --version") echo {version} ;;
    "npm ci"*) echo ci >> {log}; mkdir -p node_modules ;;
    "npm run check") exit {check} ;;
    "npm test")
        printf '# tests 3\\n# pass 3\\n# fail 0\\n# skipped 0\\n'
        printf '# tests 2\\n# pass {passed}\\n# fail {failed}\\n'
        exit {failed} ;;
esac
"""
REPORT = '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="40" time="1.5"/></testsuites>'


class Clients:
    """A folder of clients, and a Node on the PATH that only says what it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "npm.log"
        self.tools = folder / "tools"
        self.lock = folder / "clients" / "package-lock.json"
        for made in (self.tools, self.lock.parent):
            made.mkdir()
        self.lock.write_text("{}")
        monkeypatch.setattr(places, "CLIENTS", self.lock.parent)
        monkeypatch.setenv("PATH", f"{self.tools}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("CI", "false")
        self.answer()

    def answer(self, *, version: str = "v20.1.0", check: int = 0, failed: int = 0) -> None:
        for name in ("node", "npm"):
            tool = self.tools / name
            tool.write_text(NODE.format(version=version, check=check, failed=failed, passed=2 - failed, log=self.log))
            tool.chmod(0o755)


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(tmp_path, monkeypatch)


def test_the_clients_are_counted_and_installed_once_per_lock(clients: Clients) -> None:
    assert testing.test_clients() == (0, {"passed": 5, "failed": 0, "skipped": 0})
    assert testing.test_clients()[0] == 0
    assert clients.log.read_text() == "ci\n"
    clients.lock.write_text("{ }")
    assert testing.test_clients()[0] == 0
    assert clients.log.read_text() == "ci\nci\n"


def test_a_client_that_fails_is_a_failure(clients: Clients) -> None:
    clients.answer(failed=1)
    assert testing.test_clients() == (1, {"passed": 4, "failed": 1, "skipped": 0})
    clients.answer(check=1)
    assert testing.test_clients() == (1, {"passed": 5, "failed": 1, "skipped": 0})


@pytest.mark.parametrize("ci", [False, True])
@pytest.mark.parametrize("version", ["v18.20.4", ""])
def test_without_a_fitting_node_the_clients_are_left_out_loudly_and_in_ci_that_fails(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str, ci: bool
) -> None:
    clients.answer(version=version)
    monkeypatch.setenv("CI", str(ci).lower())
    assert testing.test_clients() == ((1, {"failed": 1}) if ci else (0, {"skipped": 1}))
    said = capsys.readouterr().err
    assert "THE TYPESCRIPT CLIENTS ARE NOT TESTED" in said
    assert "apt-get install nodejs npm" in said


@pytest.mark.parametrize("code", [0, 1])
def test_the_last_line_of_everything_counts_both(
    box: Box, clients: Clients, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    assert environment.setup("dev") == 0
    box.interpreter(
        f"""for word; do case $word in --junitxml=*) echo '{REPORT}' > "${{word#*=}}" ;; esac; done; exit {code}"""
    )
    assert testing.test([]) == code
    assert capsys.readouterr().out.splitlines()[-1] == "tests: 39 passed, 3 failed, 3 skipped"


def test_a_suite_without_a_report_has_failed(box: Box, clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    assert environment.setup("dev") == 0
    box.interpreter("exit 4")
    assert testing.test([]) == 4
    assert capsys.readouterr().out.splitlines()[-1] == "tests: 5 passed, 1 failed, 0 skipped"
