"""Numbers: percentiles, this process's own lateness, and what processes use."""

import asyncio
import contextlib
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank); NaN when there are none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def milliseconds(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest of values in seconds, as milliseconds."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(values, share) * 1e3, 1) for name, share in shares.items()}


@dataclass
class Lateness:
    """How late this process's own event loop is: what it measures of others cannot be better than that."""

    samples: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.01)
            self.samples.append(max(0.0, time.perf_counter() - started - 0.01))


@dataclass(frozen=True)
class Usage:
    """Resident memory in KiB and processor time in seconds, of one or several processes."""

    rss_kib: int
    cpu_s: float


def usage(pids: Iterable[int]) -> Usage | None:
    """What these processes of this machine use now; None when one of them is not here to be seen."""
    rss, cpu = 0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        rss += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        fields = stat.rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / tick
    return Usage(rss, cpu)


def cpu_by_role(workers: Iterable[int]) -> dict[str, float]:
    """Processor seconds so far of the hub with these workers, and of this process: of the workers, their supervisor and
    what it has started (PostgreSQL, Valkey), by name, and of `generator`. Empty when a worker is not here to be seen.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    for _, role, seconds in _of_hub(workers):
        spent[role] += seconds
    if spent:
        spent["generator"] = time.process_time()
    return dict(spent)


def memory_by_role(workers: Iterable[int]) -> dict[str, float]:
    """MiB of the processes of the hub with these workers, by name as in `cpu_by_role`. What processes share is divided
    among them (PSS), so that the sum is what the machine has less."""
    held: defaultdict[str, float] = defaultdict(float)
    for pid, role, _ in _of_hub(workers):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            held[role] += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return dict(held)


def _of_hub(workers: Iterable[int]) -> list[tuple[int, str, float]]:
    """Process id, role and processor seconds of each process of a hub; none when a worker is not here to be seen."""
    parents: dict[int, int] = {}
    seconds: dict[int, tuple[str, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        seconds[pid] = head.partition("(")[2], (int(fields[11]) + int(fields[12])) / tick
    roots = {parents.get(worker, 0) for worker in workers}
    if 0 in roots:
        return []
    found = [(pid, "supervisor", cpu) for pid, (_, cpu) in seconds.items() if pid in roots]
    found += [(pid, name, cpu) for pid, (name, cpu) in seconds.items() if _is_below(pid, roots, parents)]
    return found


def _is_below(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    if pid in roots:
        return False
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid in roots:
            return True
    return False


def worker_pid(node: str) -> int | None:
    """The process id in a `node` of the protocol (`host:pid:random`), if it is one of this machine."""
    host, _, rest = node.partition(":")
    pid = rest.partition(":")[0]
    return int(pid) if host == os.uname().nodename and pid.isdecimal() else None
