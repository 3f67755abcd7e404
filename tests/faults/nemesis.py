"""A seeded mix of all faults under load; then everything is healed, read, and checked."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import holdings
from tests.faults.checker import check
from tests.faults.injections import NEMESIS
from tests.faults.load import Load
from tests.faults.rig import Rig, rig
from tests.faults.sights import Report

BASELINE = ("hub_connections", "hub_sockets", "hub_rooms", "hub_runs_active", "hub_database_connections_in_use")
COUNTED = ("position_fixes", "events_healed", "payloads_rejected", "leases_lost", "writes_refused", "relay_reconnects")
BASELINE_S = 30.0
DATABASE_POOL, REDIS_POOL = 12, 16  # connections a worker may keep when nobody is there
BACKENDS = """
SELECT usename, count(*) AS backends, count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS open
FROM pg_stat_activity WHERE application_name = 'agent-hub' GROUP BY usename
"""


@dataclass
class Verdict:
    """What a run under faults came to. `failures` are in words; none means that the hub was exact."""

    name: str
    seed: int
    report: Report = field(default_factory=Report)
    failures: list[str] = field(default_factory=list)
    numbers: dict[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.failures and not self.report.anomalies

    def text(self) -> str:
        """The ledger, for people."""
        r = self.report
        lines = [f"{self.name} (seed {self.seed}): {'HOLDS' if self.ok else 'FAILED'}"]
        lines += [f"  {name:<22} {value}" for name, value in sorted(r.ledger.items())]
        if r.acks:
            lines.append(f"  {'ack p50, p99, max (s)':<22} {spread(r.acks)}")
            lines.append(f"  {'longest ack gap (s)':<22} {r.longest_ack_gap:.2f}")
        if r.takeovers:
            lines.append(f"  {'takeover p50, max (s)':<22} {len(r.takeovers)} times: {spread(r.takeovers)}")
        for name, counts in (("runs", r.runs), ("answers that were no ok", r.failures), ("closes", r.closes)):
            if counts:
                lines.append(f"  {name:<22} {dict(sorted(counts.items(), key=str))}")
        lines += [f"  {name:<22} {value}" for name, value in self.numbers.items()]
        lines.append(f"  {'anomalies':<22} {dict(r.anomalies) or 'none'}")
        lines += [f"    {kind}: {example}" for kind, examples in r.examples.items() for example in examples]
        lines += [f"  FAILURE: {failure}" for failure in self.failures]
        return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Median, 99th percentile and the largest."""
    if not values:
        return "none"
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.2f}  {ordered[int(len(ordered) * 0.99)]:.2f}  {ordered[-1]:.2f}"


class Baseline:
    """What every node holds when nobody is there: no connection, room, run or transaction, as many tasks as before,
    and no more files and connections to PostgreSQL than its pools are large."""

    def __init__(self, hub: Rig, tasks: float, files: float) -> None:
        self._hub = hub
        self._tasks = tasks
        self._files = files + DATABASE_POOL + REDIS_POOL

    @classmethod
    async def of(cls, hub: Rig) -> "Baseline":
        """Before anybody comes."""
        found = [await node.metrics() for node in hub.nodes]
        return cls(hub, *(max(each[name] for each in found) for name in ("hub_tasks", "process_open_fds")))

    async def failures(self) -> list[str]:
        """What is not back there after a while."""
        deadline = time.monotonic() + BASELINE_S
        while True:
            wrong = []
            for node in self._hub.nodes:
                found = await node.metrics()
                wrong += [f"{node.name}: {name} is {found[name]:g}" for name in BASELINE if found[name]]
                if found["hub_tasks"] > self._tasks:
                    wrong.append(f"{node.name}: {found['hub_tasks']:g} tasks, there were {self._tasks:g}")
                if found["process_open_fds"] > self._files:
                    wrong.append(f"{node.name}: {found['process_open_fds']:g} files, {self._files:g} may be open")
            for row in await self._hub.sql(BACKENDS):
                if row["backends"] > DATABASE_POOL or row["open"]:
                    wrong.append(f"{row['usename']}: {row['backends']} backends, {row['open']} in a transaction")
            if not wrong or time.monotonic() > deadline:
                return wrong
            await asyncio.sleep(0.3)


async def judge(hub: Rig, load: Load, verdict: Verdict, baseline: Baseline) -> None:
    """Settle, read everything, check the history, look for what is left behind."""
    await load.settle()
    await load.read_all()
    began = time.monotonic()
    verdict.failures += await holdings.differences(hub, load)
    verdict.numbers["counts of places true after"] = round(time.monotonic() - began, 2)
    await load.leave()
    hub.note_processes()
    verdict.failures += await baseline.failures()
    verdict.failures += await holdings.differences(hub, load)
    counted = [await node.metrics() for node in hub.nodes]
    verdict.numbers["counted since the last starts"] = {
        name: int(sum(found[f"hub_{name}_total"] for found in counted)) for name in COUNTED
    }
    verdict.report = check(hub.history.records())
    verdict.numbers |= {
        "records": hub.history.count,
        "runs ended after (s)": round(load.ended_s, 2),
        "all saw all after (s)": round(load.converged_s, 2),
        "rss peak (MiB)": round(hub.rss_peak),
    }


def schedule(seed: int, seconds: float, names: list[str]) -> list[tuple[float, str, int]]:
    """When which fault happens, with a seed of its own: the same for the same seed."""
    rng = random.Random(seed)
    plan: list[tuple[float, str, int]] = []
    at = 3.0
    while at < seconds:
        plan.append((at, rng.choice(names), rng.getrandbits(32)))
        at += rng.uniform(0.5, 6.0)
    return plan


async def nemesis(seed: int, minutes: float, keep: Path | None, only: str | None = None) -> Verdict:
    """Faults one after the other for so long; only those of one kind when it is given."""
    verdict = Verdict(only or "nemesis", seed)
    async with rig(nodes=3, seed=seed, keep=keep, lease_s="3", grace_s="4") as hub:
        rng = random.Random(seed)
        baseline = await Baseline.of(hub)
        async with asyncio.TaskGroup() as group:
            load = Load(hub, rng)
            await load.start(group)
            began = time.monotonic()
            done: dict[str, int] = {}
            for at, name, own_seed in schedule(seed, minutes * 60, [only] if only else sorted(NEMESIS)):
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                if time.monotonic() - began > minutes * 60:
                    break
                hub.history.add("fault", name=name)
                done[name] = done.get(name, 0) + 1
                try:
                    await NEMESIS[name](hub, random.Random(own_seed))
                except Exception as e:  # noqa: BLE001 - boundary: one fault that could not be done, or asked too much
                    verdict.failures.append(f"{name}, {time.monotonic() - began:.0f} s after the start: {e!r}")
                hub.note_processes()
            verdict.numbers["faults"] = done
            await judge(hub, load, verdict, baseline)
    return verdict
