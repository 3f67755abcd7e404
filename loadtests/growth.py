"""How a hub's cost grows: with connections, sessions, watchers of one session, the length of a transcript, the rate.

    python -m loadtests.growth --into docs/images

Each part has a hub of its own with one worker. Writes a chart for each part, prints a table in Markdown, and says what
breaks first. Ends with 1 when joining the longest transcript takes 50 ms or more, or when anything was lost.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import uvloop

from loadtests import cases, cost, temporary
from loadtests.account import Account
from loadtests.judge import script
from loadtests.measure import cpu_by_role, memory_by_role, milliseconds, percentile, worker_pid
from loadtests.plot import chart
from loadtests.run import own_hub
from loadtests.together import UNLIMITED
from loadtests.watcher import Watcher

JOIN_S = 0.05
LATE_MS = 50.0  # p99 of a token beyond which a rate is too much
JOINS = 40
SETTLE_S = 3.0
WORKER = "hub worker"


@dataclass
class Curve:
    """One thing that grows and what of it is told: a row of numbers for each size. `drawn` is the chart's column."""

    name: str
    grows: str
    columns: tuple[str, ...]
    drawn: int
    bound: float | None = None
    rows: list[tuple[float, ...]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """As Markdown."""
        lines = [f"| {self.grows} | {' | '.join(self.columns)} |", "|--:" * (len(self.columns) + 1) + "|"]
        lines += [f"| {row[0]:,.0f} | " + " | ".join(_short(value) for value in row[1:]) + " |" for row in self.rows]
        return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


@dataclass(frozen=True)
class Place:
    """A hub that runs for one part."""

    url: str
    account: Account
    data: Path


async def connections(place: Place, quick: bool) -> Curve:
    """Connections that do nothing."""
    curve = Curve("connections", "connections", ("MiB of the worker", "KiB each", "% of a core", "ms a handshake"), 0)
    async with cases.watching(place.url, place.account, 200) as some:
        workers = {pid for w in some if (pid := worker_pid(w.hello["node"])) is not None}
    accounts = [place.account, *(Account(place.url) for _ in range(4))]
    await asyncio.sleep(SETTLE_S)
    empty = memory_by_role(workers)[WORKER]
    for count in (100, 1_000) if quick else (100, 1_000, 2_500, 5_000, 10_000):
        before = cpu_by_role(workers)[WORKER]
        async with cases.watching(place.url, accounts[0], count, *accounts[1:]) as watchers:
            handshakes = cpu_by_role(workers)[WORKER] - before
            await asyncio.sleep(SETTLE_S)
            rest, began = cpu_by_role(workers)[WORKER], time.monotonic()
            await asyncio.sleep(2 * SETTLE_S)
            busy = (cpu_by_role(workers)[WORKER] - rest) / (time.monotonic() - began)
            held = memory_by_role(workers)[WORKER]
            lost = cases.wrong(watchers)
            if lost:
                curve.wrong.append(f"{count} connections: {dict(lost)}")
        each = (held - empty) * 1024 / count
        curve.rows.append((count, held, each, busy * 100, handshakes / count * 1e3))
    return curve


async def sessions(place: Place, quick: bool) -> Curve:
    """The same tokens a second in more and more sessions."""
    counts = (50, 200) if quick else (100, 500, 1_000, 2_000)
    shapes = [(cost.Shape(count, 1), 2_000 / count) for count in counts]
    return await _tokens(place, "sessions", "sessions × 1 watcher, 2,000 tokens/s in all", shapes, quick)


async def watchers(place: Place, quick: bool) -> Curve:
    """One session with more and more watchers, 20 tokens a second."""
    counts = (1, 10, 100) if quick else (1, 10, 100, 300, 1_000)
    shapes = [(cost.Shape(1, count), 20.0) for count in counts]
    return await _tokens(place, "watchers", "watchers of one session, 20 tokens/s", shapes, quick)


async def rate(place: Place, quick: bool) -> Curve:
    """More and more tokens a second, in 200 sessions."""
    totals = (500, 2_000) if quick else (2_500, 5_000, 10_000, 20_000)
    shapes = [(cost.Shape(200, 1), total / 200) for total in totals]
    curve = await _tokens(place, "rate", "tokens/s asked for, 200 sessions × 1", shapes, quick, by_rate=True)
    curve.drawn, curve.bound = 2, LATE_MS
    return curve


async def _tokens(
    place: Place, name: str, grows: str, shapes: list[tuple[cost.Shape, float]], quick: bool, by_rate: bool = False
) -> Curve:
    curve = Curve(name, grows, ("tokens/s delivered", "µs per token", "p99 of a token, ms", "p95 of an ack, ms"), 1)
    for shape, each in shapes:
        asked = argparse.Namespace(
            rate=each, total=None, talk=None, team="scripted", ramp=5.0, seconds=2.0 if quick else 4.0
        )
        seen = await cost.measure(place.url, place.account, shape, asked)
        size = each * shape.sessions if by_rate else shape.sessions * shape.watchers
        curve.rows.append((size, seen.per_second, seen.hub_us, seen.lag["p99"], seen.ack["p95"]))
        if seen.wrong:
            curve.wrong.append(f"{shape}: {seen.wrong}")
    return curve


async def transcript(place: Place, quick: bool) -> Curve:
    """A session whose log grows. Its events are written by copying those of an answer in PostgreSQL: saying so much
    would take an hour."""
    columns = ("join, p50 ms", "join, p95 ms", "join after the last, p50 ms", "100 events over REST, p50 ms")
    curve = Curve("transcript", "events of the session", columns, 0, JOIN_S * 1e3)
    async with cases.watching(place.url, place.account, 2) as (talker, guest):
        (session,) = await cases.sessions_for([talker])
        await talker.finished(await talker.say(session, script(5, 0)), 30)
        for events in (100, 1_000) if quick else (100, 1_000, 10_000, 100_000):
            await _lengthen(place.data, session, events)
            for number in range(3):  # the room of the worker hears of it, and keeps what joins read first
                await guest.ask("session.join", session=session)
                await guest.ask("session.leave", session=session)
                await asyncio.sleep(SETTLE_S * (number == 0))
            joins = [await _join(guest, session) for _ in range(JOINS)]
            after = [await _join(guest, session, after_seq=events) for _ in range(JOINS)]
            reads = list[float]()
            for _ in range(JOINS):
                began = time.perf_counter()
                await asyncio.to_thread(
                    place.account.get, f"/v1/sessions/{session}/events?after_seq={events - 100}&limit=100"
                )
                reads.append(time.perf_counter() - began)
            joined = milliseconds(joins)
            rest = percentile(after, 0.5) * 1e3, percentile(reads, 0.5) * 1e3
            curve.rows.append((events, joined["p50"], joined["p95"], *rest))
        longest = curve.rows[-1]
        if longest[1] >= JOIN_S * 1e3:
            curve.wrong.append(f"joining {longest[0]:,.0f} events takes {longest[1]:.0f} ms")
    return curve


async def _join(watcher: Watcher, session: str, **more: int) -> float:
    began = time.perf_counter()
    await watcher.ask("session.join", session=session, **more)
    took = time.perf_counter() - began
    await watcher.ask("session.leave", session=session)
    return took


async def _lengthen(data: Path, session: str, events: int) -> None:
    """Give the session so many events, the new ones copies of the ones it has."""
    lines = (data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    db = await asyncpg.connect(host=lines[4], port=int(lines[3]), user="hub", database="hub")
    try:
        names = [row["column_name"] for row in await db.fetch(COLUMNS)]
        async with db.transaction():
            await db.execute(
                f"WITH s AS (SELECT id, last_seq FROM sessions WHERE id = $1::uuid), made AS ("
                f" INSERT INTO events (seq, {', '.join(names)})"
                f" SELECT n, {', '.join(f'e.{name}' for name in names)} FROM s,"
                f" generate_series(s.last_seq + 1, $2) n JOIN events e"
                f" ON e.session_id = $1::uuid AND e.seq = 1 + (n - 1) % 6)"
                f" UPDATE sessions SET last_seq = greatest(last_seq, $2) WHERE id = $1::uuid",
                session,
                events,
            )
        await db.execute("ANALYZE events")
    finally:
        await db.close()


COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_name = 'events' AND table_schema = current_schema() AND column_name <> 'seq' AND is_generated = 'NEVER'
"""


# ---- the report

PARTS: dict[str, Callable[[Place, bool], Awaitable[Curve]]] = {
    "connections": connections,
    "sessions": sessions,
    "watchers": watchers,
    "transcript": transcript,
    "rate": rate,
}


@asynccontextmanager
async def place(workers: int) -> AsyncIterator[Place]:
    """A hub of its own."""
    with temporary.folder() as folder:
        data = folder / "data"
        with own_hub(workers, folder / "hub.log", UNLIMITED, data) as url:
            yield Place(url, Account(url), data)


def first_to_break(rate: Curve) -> str:
    """The first rate that is too much, in words."""
    late = [row for row in rate.rows if row[3] > LATE_MS or row[1] < 0.97 * row[0]]
    if not late:
        return "No rate was too much."
    asked, seen, us, p99, _ = late[0]
    return (
        f"The first rate that is too much: asked for {asked:,.0f} tokens a second, {seen:,.0f} were delivered, p99 "
        f"{p99:.0f} ms, {us:.0f} µs each ({seen * us / 1e4:.0f} % of a core, with PostgreSQL and Valkey)."
    )


async def run(asked: argparse.Namespace) -> bool:
    """All parts; whether nothing was wrong."""
    curves = dict[str, Curve]()
    for name in asked.parts.split(","):
        async with place(asked.workers) as hub:
            curve = curves[name] = await PARTS[name](hub, asked.quick)
        print(f"\n{curve.table()}", flush=True)
        if asked.into is not None:
            asked.into.mkdir(parents=True, exist_ok=True)
            points = [(row[0], row[1 + curve.drawn]) for row in curve.rows]
            drawn = chart(f"{curve.columns[curve.drawn]}", curve.grows, curve.columns[curve.drawn], points, curve.bound)
            (asked.into / f"growth-{name}.svg").write_text(drawn)
    if "rate" in curves:
        print(f"\n{first_to_break(curves['rate'])}")
    for curve in curves.values():
        for wrong in curve.wrong:
            print(f"WRONG: {curve.name}: {wrong}")
    return not any(curve.wrong for curve in curves.values())


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas (all)")
    parser.add_argument("--into", type=Path, help="where the charts go")
    parser.add_argument("--workers", type=int, default=1, help="of each hub (1)")
    parser.add_argument("--quick", action="store_true", help="small sizes only: to see whether it works")
    cases.allow_many_files()
    return 0 if uvloop.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
