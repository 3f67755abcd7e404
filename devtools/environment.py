"""The virtual environments: what they hold, and how it gets there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from devtools import places
from devtools.saying import complain, say

NO_MODEL = "THE LOCAL MODEL IS NOT INSTALLED: AGENTS ANSWER WITH A SCRIPT, WITHOUT ANY INTELLIGENCE"


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
    held = json.loads(places.STATE.read_text()) if places.STATE.exists() and places.PYTHON.exists() else {}
    missing = missing_locks(held, wanted, extra, again=again)
    if not missing:
        return 0
    started, uv = time.monotonic(), shutil.which("uv")
    if code := make_venv(uv):
        return code
    if not places.STATE.exists():
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
    compiling = [str(places.PYTHON), "-m", "compileall", "-q", "-j", "0", str(places.VENV / "lib")]
    subprocess.run(compiling, stdout=subprocess.DEVNULL)
    places.STATE.write_text(json.dumps(held))
    say(f"set up in {time.monotonic() - started:.0f} s")
    return 0


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
    path = places.ROOT / "requirements" / f"{lock}.txt" if isinstance(lock, str) else lock
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_venv(uv: str | None) -> int:
    """An empty environment that finds this source tree, unless there is one."""
    has_pip = any(places.VENV.glob("lib/python3*/site-packages/pip"))  # an environment made by uv has none
    if not places.PYTHON.exists() or not (uv or has_pip):
        if uv:
            made = subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(places.VENV)])
        elif importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return complain(f"this Python has no ensurepip: sudo apt-get install python{version}-venv (or install uv)")
        else:
            made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(places.VENV)])
        if made.returncode:
            return complain(".venv could not be made (see above)")
    packages = next((places.VENV / "lib").glob("python3*/site-packages"))
    (packages / "agent_hub.pth").write_text(f"{places.ROOT}\n{places.ROOT / 'clients' / 'python'}\n")
    launcher = places.VENV / "bin" / "hub"
    launcher.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m hub "$@"\n')
    launcher.chmod(0o755)
    return 0


def install(name: str, uv: str | None, python: Path | None = None) -> subprocess.Popen[bytes]:
    """Begin to install one lock, into .venv or another environment, nothing beside it, wheels only (the model's own
    dependency would compile for long)."""
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    options += ["-r", str(places.ROOT / "requirements" / f"{name}.txt")]
    if uv:
        return subprocess.Popen([uv, "pip", "install", "--python", str(python or places.PYTHON), *options])
    pip = [str(python or places.PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return subprocess.Popen([*pip, "install", "--no-compile", *options])


def in_venv(*words: str) -> int:
    """Run .venv's Python in the source tree; its exit code."""
    return subprocess.run([str(places.PYTHON), *words], cwd=places.ROOT).returncode
