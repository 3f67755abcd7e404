"""`hub serve` as a process of its own, and a look at the processes below it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx2

ROOT = Path(__file__).parents[2]
MEASURING = "COVERAGE_PROCESS_"
SECRET = "k1:0123456789abcdef0123456789abcdef"


def environment(**variables: str) -> dict[str, str]:
    """Ours without any HUB_* a developer may have set, without what has a process measure its coverage, and without
    what has each of many hubs compile 300 modules again: half a second of a start."""
    unwanted = ("HUB_", MEASURING, "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "HUB_DEFAULT_MODEL": "scripted", "HUB_GRACE_S": "5", **variables}


def measured() -> dict[str, str]:
    """What has a process measure its coverage, when ours is: for those that run what runs in no other process. It costs
    as much again as what is measured."""
    return {name: value for name, value in os.environ.items() if name.startswith(MEASURING)}


def started(pid: int) -> str:
    """When a process began; empty when there is none, or only its zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def gone(family: dict[int, str]) -> bool:
    return all(started(pid) != moment for pid, moment in family.items())


class Serving:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def family(self) -> dict[int, str]:
        """Every process below the supervisor, with the moment of its start (numbers are used again)."""
        found: dict[int, str] = {}
        parents = [self.process.pid]
        while parents:
            for task in Path(f"/proc/{parents.pop()}/task").glob("*/children"):
                with suppress(OSError):
                    for pid in map(int, task.read_text().split()):
                        if moment := started(pid):
                            found[pid] = moment
                            parents.append(pid)
        return found

    def named(self, name: str) -> list[int]:
        """The processes of this name, as `ps` shows it; the supervisor's own child of a service comes first."""
        return sorted(pid for pid in self.family() if name_of(pid) == name)

    def get(self, path: str) -> httpx2.Response:
        with httpx2.Client(base_url=self.url, timeout=30) as client:
            return client.get(path)

    def post(self, path: str, **body: str) -> int:
        """The status of the answer."""
        with httpx2.Client(base_url=self.url, timeout=30) as client:
            return client.post(path, json=body).status_code

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(60)


@contextmanager
def serving(data_dir: Path, *arguments: str, **variables: str) -> Iterator[Serving]:
    """A hub that is ready; its log is in `serve.log`."""
    with (data_dir.parent / "serve.log").open("a") as log, serving_into(log, data_dir, *arguments, **variables) as hub:
        yield hub


@contextmanager
def serving_into(log: IO[str], data_dir: Path, *arguments: str, **variables: str) -> Iterator[Serving]:
    """A hub that is ready; its log goes there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready http://127.0.0.1:"):
            raise AssertionError(_of(log))
        yield Serving(process, line.split()[1])
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        process.kill()
        process.communicate()


def _of(log: IO[str]) -> str:
    return Path(log.name).read_text() if isinstance(log.name, str) else "it did not start"
