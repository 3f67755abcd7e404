"""What benches share: processes, what these have used, on which machine, and how numbers are shown."""

import contextlib
import os
import platform
import socket
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], more: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process while the context lasts."""
    with log.open("w") as out:
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **more}, stdout=out, stderr=out)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def tree(root: int) -> list[int]:
    """This process and all that it, and what it has started, have started and that still run (Linux)."""
    found, to_see = list[int](), [root]
    while to_see:
        pid = to_see.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                to_see += [int(child) for child in children.read_text().split()]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Processor seconds of all threads so far, to the nanosecond (Linux)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def spread(values: list[float], shape: str) -> str:
    """The median, the least and the largest, in this format."""
    return f"{statistics.median(values):{shape}} [{min(values):{shape}}–{max(values):{shape}}]"


def machine() -> str:
    """What this was measured on."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(
        (int(line.split()[1]) // 1048576 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return f"{os.cpu_count()} × {cpu}, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
