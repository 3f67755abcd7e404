"""What must hold, each as one command: a fault, the load it happens under, and numbers that must not be exceeded."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.load import Load, Words
from tests.faults.nemesis import Baseline, Verdict, judge, spread
from tests.faults.rig import Rig, rig

HELD = "SELECT id::text, attempt FROM runs WHERE status = 'running' AND lease_node LIKE $1"
Frame = dict[str, Any]
Scenario = Callable[[int, Path | None], Coroutine[Any, Any, Verdict]]


class Runs:
    """Who executes which run, as the clients saw it."""

    def __init__(self) -> None:
        self.holder: dict[str, int] = {}  # run → pid of its worker, while it runs
        self.attempt: dict[str, int] = {}
        self.session: dict[str, str] = {}
        self.ended: set[str] = set()
        self.on_token: Callable[[str], None] | None = None

    def watch(self, frame: Frame) -> None:
        run = frame.get("run")
        if run is None:
            return
        match frame["type"]:
            case "run.started":
                self.holder[run] = int(frame["data"]["node"].split(":")[1])
                self.attempt[run] = max(frame["data"]["attempt"], self.attempt.get(run, 0))
                self.session[run] = frame["session"]
            case "run.finished":
                self.ended.add(run)
                self.holder.pop(run, None)
            case "message.delta" | "message.snapshot":
                if self.on_token is not None:
                    self.on_token(run)


def _say(text: str) -> Callable[[random.Random], Words]:
    return lambda _: (text, {})


def _require(verdict: Verdict, ok: bool, what: str) -> None:
    if not ok:
        verdict.failures.append(what)


async def _takeover(
    seed: int, keep: Path | None, *, kills: int, lease_s: int, within_s: float, pause_s: float
) -> Verdict:
    verdict = Verdict(f"takeover with a lease of {lease_s} s", seed)
    runs, rng = Runs(), random.Random(seed)
    pending: dict[str, tuple[float, int]] = {}
    took: list[float] = []

    def on_token(run: str) -> None:
        if run in pending and runs.attempt.get(run, 0) > pending[run][1]:
            took.append(time.monotonic() - pending.pop(run)[0])

    runs.on_token = on_token
    async with rig(nodes=3, seed=seed, keep=keep, lease_s=str(lease_s)) as hub, asyncio.TaskGroup() as group:
        load = Load(
            hub,
            rng,
            users=4,
            sessions=8,
            tabs=1,
            words=_say("/script turns=3 tokens=40 rate=20"),
            patience=1.0,
            silent_s=3600.0,  # a run may be taken over dozens of times: what queues up meanwhile would outlast the rest
            cancels=0.0,
            watch=runs.watch,
        )
        baseline = await Baseline.of(hub)
        await load.start(group, teams=("scripted", "scripted-autogen"))
        killed, deadline = 0, time.monotonic() + 2 * kills * pause_s
        while killed < kills and time.monotonic() < deadline:
            await asyncio.sleep(rng.uniform(0.3, 1.0) * pause_s)
            living = {pid for node in hub.nodes for pid in node.workers()}
            victims = sorted({pid for pid in runs.holder.values() if pid in living})
            if not victims:
                continue
            pid = rng.choice(victims)
            hub.history.add("fault", name="kill -9", pid=pid)
            # PostgreSQL knows of runs that were claimed just now, and clients do not.
            held = await hub.sql(HELD, f"%:{pid}:%")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed += 1
            now = time.monotonic()
            pending |= {row["id"]: (now, row["attempt"]) for row in held}
            hub.note_processes()
        await asyncio.sleep(within_s)
        now = time.monotonic()
        late = [run for run, (at, _) in pending.items() if run not in runs.ended and now - at >= within_s]
        await judge(hub, load, verdict, baseline)
    verdict.numbers |= {"kills": killed, "runs taken over": len(took), "until tokens again (s)": spread(took)}
    _require(verdict, killed == kills, f"only {killed} workers that ran something were found to be killed")
    _require(verdict, len(took) >= kills // 2, f"only {len(took)} runs were taken over: this proves nothing")
    _require(verdict, max(took, default=0) < within_s, f"the longest takeover took {max(took, default=0):.2f} s")
    _require(verdict, not late, f"{len(late)} runs were not taken over within {within_s} s")
    return verdict


async def takeover(seed: int, keep: Path | None) -> Verdict:
    """50 kill -9 of workers that run turns, with a lease of 3 s: tokens flow again within 6 s."""
    return await _takeover(seed, keep, kills=50, lease_s=3, within_s=6.0, pause_s=7.0)


async def takeover_defaults(seed: int, keep: Path | None) -> Verdict:
    """The same ten times with the default lease of 15 s: within 18 s."""
    return await _takeover(seed, keep, kills=10, lease_s=15, within_s=18.0, pause_s=24.0)


async def frozen_runner(seed: int, keep: Path | None) -> Verdict:
    """A runner stands still for three leases and goes on, ten times: it writes, publishes and calls nothing."""
    lease_s = 2
    verdict = Verdict("frozen runner", seed)
    runs, rng = Runs(), random.Random(seed)
    async with rig(nodes=2, seed=seed, keep=keep, lease_s=str(lease_s)) as hub, asyncio.TaskGroup() as group:
        load: Load

        def words(rng: random.Random) -> Words:
            return f"/script turns=3 tokens=40 rate=15 tool=counter key={load.key(rng)}", {}

        load = Load(hub, rng, sessions=6, tabs=1, words=words, patience=1.0, cancels=0.0, watch=runs.watch)
        baseline = await Baseline.of(hub)
        await load.start(group, teams=("scripted", "scripted-tools"))
        frozen = 0
        for _ in range(10):
            await asyncio.sleep(rng.uniform(0.5, 3))
            living = {pid: node for node in hub.nodes for pid in node.workers()}
            victims = sorted({pid for pid in runs.holder.values() if pid in living})
            if not victims:
                continue
            pid = rng.choice(victims)
            held = [run for run, holder in runs.holder.items() if holder == pid]
            hub.history.add("fault", name="SIGSTOP", pid=pid)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(3 * lease_s)
            lost = [run for run in held if run in runs.ended or runs.holder.get(run) != pid]
            said = bytearray()
            living[pid].to_redis.tap = said.extend
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(1.5)
            living[pid].to_redis.tap = None
            frozen += len(lost)
            for run in lost:
                if runs.holder.get(run) != pid:
                    published = _published(bytes(said), run)
                    _require(verdict, not published, f"after its lease it published {published!r:.300}")
        await judge(hub, load, verdict, baseline)
    verdict.numbers["runs lost by the frozen"] = frozen
    strange = verdict.report.strange_effects
    _require(verdict, not strange, f"{len(strange)} tools took effect for who had lost the lease: {strange[:3]}")
    _require(verdict, frozen >= 5, f"only {frozen} runs were lost: this proves nothing")
    return verdict


def _published(said: bytes, run: str) -> list[bytes]:
    """Commands PUBLISH about a run, which no fence stops."""
    found = []
    for piece in said.split(b"\r\n$7\r\nPUBLISH\r\n")[1:]:
        command = piece.split(b"\r\n*")[0]
        if run.encode() in command:
            found.append(command)
    return found


async def redis_restarts(seed: int, keep: Path | None) -> Verdict:
    """Valkey dies and comes back empty twice during 200 streams: exact logs; tokens flow within 3 s of its return."""
    verdict = Verdict("redis restarts", seed)
    runs, rng = Runs(), random.Random(seed)
    async with rig(nodes=2, seed=seed, keep=keep) as hub, asyncio.TaskGroup() as group:
        load = Load(
            hub,
            rng,
            users=40,
            sessions=200,
            tabs=1,
            words=_say("/script turns=2 tokens=50 rate=2.5"),
            patience=1.0,
            cancels=0.0,
            watch=runs.watch,
        )
        baseline = await Baseline.of(hub)
        await load.start(group, teams=("scripted", "scripted-autogen"))
        await asyncio.sleep(6)
        worst: list[float] = []
        for down_s in (1.0, 4.0):
            hub.signal_valkey(signal.SIGKILL)
            hub.history.add("fault", name="Valkey is killed")
            await asyncio.sleep(down_s)
            await hub.start_valkey()
            back = time.monotonic()
            hub.history.add("fault", name="Valkey is back, empty")
            live = set(runs.holder)
            await asyncio.sleep(3.0)
            # Each client for itself: those on the runner's own worker need no Redis.
            late = [
                (client, run)
                for run in live - runs.ended
                for client in load.clients
                if runs.session[run] in client.cursors and client.token_at.get(run, 0) < back
            ]
            lost = len({run for _, run in late})
            _require(verdict, not late, f"of {len(live)} runs {lost} showed somebody no token within 3 s of its return")
            worst.append(len(live))
            await asyncio.sleep(6)
        await judge(hub, load, verdict, baseline)
    verdict.numbers["streams at each return"] = worst
    _require(verdict, min(worst) >= 150, f"only {worst} streams were live: this proves little")
    return verdict


async def postgres_outage(seed: int, keep: Path | None) -> Verdict:
    """PostgreSQL is gone for 10 s, then stands still for 10 s, while messages are sent: `unavailable` within 5 s, each
    message once in the end."""
    verdict = Verdict("postgres outage", seed)
    rng = random.Random(seed)
    ready: list[int] = []
    alive: list[int] = []

    async def ask(hub: Rig) -> None:
        for node in hub.nodes:
            ready.append((await node.get("/readyz")).status_code)
            alive.append((await node.get("/healthz")).status_code)

    async with rig(nodes=2, seed=seed, keep=keep, lease_s="3") as hub, asyncio.TaskGroup() as group:
        load = Load(hub, rng, users=8, sessions=16, words=_say("/script turns=1 tokens=3"), patience=0.0, cancels=0.0)
        baseline = await Baseline.of(hub)
        await load.start(group, teams=("scripted",))
        await asyncio.sleep(3)
        hub.signal_postgres(signal.SIGQUIT)
        hub.history.add("fault", name="PostgreSQL is gone")
        await asyncio.sleep(5)
        await ask(hub)
        await asyncio.sleep(5)
        await hub.start_postgres()
        hub.history.add("fault", name="PostgreSQL is back")
        await asyncio.sleep(5)
        hub.signal_postgres(signal.SIGSTOP, all_of_it=True)
        hub.history.add("fault", name="PostgreSQL stands still")
        await asyncio.sleep(5)
        await ask(hub)
        await asyncio.sleep(5)
        hub.signal_postgres(signal.SIGCONT, all_of_it=True)
        hub.history.add("fault", name="PostgreSQL goes on")
        await asyncio.sleep(5)
        await judge(hub, load, verdict, baseline)
    slowest = max((*verdict.report.answers, *load.rest_times), default=0.0)
    verdict.numbers |= {
        "until refused (s)": spread(verdict.report.refusals),
        "until answered (s)": spread(verdict.report.answers),
        "until answered by REST": spread(load.rest_times),
        "readyz": ready,
        "healthz": alive,
    }
    _require(verdict, verdict.report.failures["unavailable"] > 0, "nobody was told unavailable: this proves nothing")
    _require(verdict, slowest < 5.0, f"somebody waited {slowest:.1f} s for an answer")
    _require(verdict, not verdict.report.final, f"it said not to try again: {set(verdict.report.final)}")
    again = verdict.report.ledger["connections"] - len(load.clients)
    _require(verdict, again == 0, f"{again} connections were lost")
    _require(verdict, set(ready) == {503}, f"readyz said {ready}")
    _require(verdict, set(alive) == {200}, f"healthz said {alive}")
    return verdict


STORM_CLIENTS = 1_000
STORM_KIB = 120  # of memory per client, above what the workers had before the storm …
STORM_MIB = 60  # … and this for all


async def storm(seed: int, keep: Path | None) -> Verdict:
    """1,000 clients come back at once after everything was killed: all resumed within 15 s, without an error."""
    verdict = Verdict("storm", seed)
    rng = random.Random(seed)
    async with rig(nodes=2, seed=seed, keep=keep) as hub, asyncio.TaskGroup() as group:
        urls = [node.url for node in hub.nodes]
        load = Load(hub, rng, users=20, sessions=40, tabs=STORM_CLIENTS // 20, cancels=0.0, doors=urls)
        baseline = await Baseline.of(hub)
        await load.start(group, writers=False)
        for session, owner in load.owners.items():
            writer = next(c for c in load.clients if c.user == owner)
            await writer.send(session, "/script turns=2 tokens=5")
        await asyncio.sleep(3)
        before = hub.rss_mib()
        for node in hub.nodes:
            node.kill()
        hub.history.add("fault", name="everything is killed")
        async with asyncio.TaskGroup() as starting:
            for node in hub.nodes:
                starting.create_task(node.start())
        back = time.monotonic()
        fresh = hub.rss_mib()
        peak = fresh
        while time.monotonic() - back < 20 and any(not c.whole for c in load.clients):
            peak = max(peak, hub.rss_mib())
            await asyncio.sleep(0.2)
        took = time.monotonic() - back
        whole = sum(c.whole for c in load.clients)
        refused = [code for c in load.clients for code in c.refused]
        slowest = max((c.resumed[-1] for c in load.clients if c.resumed), default=0.0)
        await judge(hub, load, verdict, baseline)
    bound = max(before, fresh) + STORM_MIB + STORM_CLIENTS * STORM_KIB / 1024
    verdict.numbers |= {
        "clients": len(load.clients),
        "resumed after (s)": round(took, 2),
        "longest from loss to resumption (s)": round(slowest, 2),
        "rss before, after the start, peak, bound (MiB)": [round(x) for x in (before, fresh, peak, bound)],
    }
    _require(verdict, whole == len(load.clients), f"{len(load.clients) - whole} clients were not resumed")
    _require(verdict, took < 15.0, f"it took {took:.1f} s")
    _require(verdict, not refused, f"{len(refused)} joins or handshakes were refused: {set(refused)}")
    _require(verdict, peak < bound, f"memory rose to {peak:.0f} MiB, the bound is {bound:.0f}")
    return verdict


SCENARIOS: dict[str, Scenario] = {
    "takeover": takeover,
    "takeover-defaults": takeover_defaults,
    "frozen-runner": frozen_runner,
    "redis-restarts": redis_restarts,
    "postgres-outage": postgres_outage,
    "storm": storm,
}
