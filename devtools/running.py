"""A hub for whoever tries it: with a demo user, a chat, or an example's team."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable

from devtools import places
from devtools.environment import NO_MODEL, digest, in_venv, setup, setup_apart
from devtools.saying import complain, say

HOW_IT_IS = "How is this machine?"


def run(options: list[str]) -> int:
    """Start a hub with two workers, wait for `ready`, say what is where, and end with it."""
    command = [str(places.PYTHON), "-m", "hub", "serve", "--data-dir", str(places.DATA_DIR)]
    if "HUB_WORKERS" not in os.environ:
        command += ["--workers", "2"]
    say("starting PostgreSQL, Valkey, the model and the hub …")
    # Ctrl-C reaches the hub by itself: it is in the same terminal. It drains; we wait for it.
    signal.signal(signal.SIGINT, lambda *_: None)
    with subprocess.Popen(
        [*command, *options], cwd=places.ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=ends_with_us()
    ) as hub:
        signal.signal(signal.SIGTERM, lambda *_: hub.terminate())
        assert hub.stdout is not None
        for line in hub.stdout:
            print(line, end="", flush=True)
            if line.startswith("ready "):
                introduce(line.split()[1])
    return hub.returncode


def chat(options: list[str]) -> int:
    """The terminal chat takes our place and the terminal; it is the demo user unless it is told who."""
    if not {"--name", "--token", "--api-key"}.intersection(option.split("=")[0] for option in options):
        try:
            demo = json.loads((places.DATA_DIR / "demo.json").read_text())
            os.environ |= {"HUB_CHAT_NAME": demo["name"], "HUB_CHAT_PASSWORD": demo["password"]}
        except (OSError, ValueError):
            if not options and "HUB_CHAT_URL" not in os.environ and not (places.DATA_DIR / "hub.lock").exists():
                sys.exit(complain("no hub has run here yet: start one with `python3 dev.py run` in another terminal"))
    os.execv(places.PYTHON, [str(places.PYTHON), "-m", "hub", "chat", "--data-dir", str(places.DATA_DIR), *options])


def demo(options: list[str]) -> int:
    """Kill a worker of the running hub in the middle of an answer; 1 when the answer did not go on."""
    try:
        url = json.loads((places.DATA_DIR / "hub.lock").read_text())["url"]
        account = json.loads((places.DATA_DIR / "demo.json").read_text())
        urllib.request.urlopen(f"{url}/healthz", timeout=10).close()
    except (OSError, ValueError, KeyError):
        return complain("no hub is running: start one with `python3 dev.py run` in another terminal, then try again")
    return in_venv("-m", "examples.takeover", url, account["name"], account["password"], *options)


def example(options: list[str]) -> int:
    """Start a hub with an example's team in a folder of its own, ask it one thing, print the answer as it comes."""
    name, *question = options or [""]
    environment = {**os.environ, "HUB_DEFAULT_MODEL": "scripted", "HUB_LOG_LEVEL": "error"}
    if name in ("langgraph", "crewai"):
        environment["HUB_TEAMS_DIR"] = str(places.ROOT / "examples" / name)
    asking = [str(places.PYTHON), "-m", "examples.langgraph.ask"]
    if name == "bot":  # its team comes with the hub
        asking, question = [str(places.PYTHON), "clients/python/examples/probe.py", "--url"], question or [HOW_IT_IS]
        if code := setup("app"):
            return code
    elif name == "langgraph":
        environment["HUB_RUNNABLES"] = "examples.langgraph.team"
        if code := setup("app", extra="langchain"):
            return code
    elif name == "crewai":
        asking = [str(places.CREW / "bin" / "python"), "-m", "examples.crewai.crew"]
        if code := setup("app") or setup_apart("crewai", places.CREW, "0.8 GB"):
            return code
    else:
        return complain("the examples are bot, langgraph and crewai: python3 dev.py example bot [QUESTION]")
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        command = [str(places.PYTHON), "-m", "hub", "serve", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(
            command, cwd=places.ROOT, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=ends_with_us()
        ) as hub:
            assert hub.stdout is not None
            try:
                ready = hub.stdout.readline().split()
                found = {"PYTHONPATH": os.pathsep.join([str(places.ROOT), str(places.CLIENTS / "python")])}
                if not ready:
                    return hub.wait()
                asked = subprocess.run([*asking, ready[1], *question], cwd=places.ROOT, env=os.environ | found)
                return asked.returncode
            finally:
                hub.terminate()


def ends_with_us() -> Callable[[], object] | None:
    """Makes the hub drain when this process is killed, where the system can do that."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def introduce(url: str) -> None:
    """Ten lines: what is where."""
    has_model = json.loads(places.STATE.read_text()).get("model") == digest("model")
    small = "SmolLM2-135M on this machine: real tokens, little sense (HUB_OPENAI_* for a better one)"
    for name, value in (
        ("chat page", f"{url}/"),
        ("sign in", demo_user(url)),
        ("terminal", "python3 dev.py chat   (in as many terminals as you like)"),
        ("REST", f"{url}/docs"),
        ("WebSocket", f"{url.replace('http', 'ws', 1)}/v1/ws   (docs/protocol.md)"),
        ("model", os.environ.get("HUB_DEFAULT_MODEL") or (small if has_model else NO_MODEL)),
        ("data", f"{places.DATA_DIR}   (conversations are still there after a restart)"),
        ("look closer", ".venv/bin/hub doctor"),
        ("end", "Ctrl-C"),
    ):
        print(f"  {name:<12} {value}", flush=True)


def demo_user(url: str) -> str:
    """A sign-in that works: an account made at the first start, its password kept in the data directory."""
    path = places.DATA_DIR / "demo.json"
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
