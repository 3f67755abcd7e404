"""Compare the hub with what others would use, on the same work, in one run, on this machine.

    python -m loadtests.bench                                    # 1,000 sessions × 1 watcher, 1 × 100, 1 × 1,000
    python -m loadtests.bench --shapes 1000x1 --only hub,ws --rounds 5 --markdown report.md

Every server gets the same tokens through Redis Pub/Sub, first so many a second, then as many as it delivers. What is
compared is the processor time of the server per token that has arrived at a client. The rounds of all servers are
interleaved; a ratio is made within a round; medians and the spread are shown. Absolute numbers are this machine's only.
Servers that cannot be built here are named and left out. Ends with 1 when the hub lost a token.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import uvloop

from loadtests.bench.contender import Contender
from loadtests.bench.contenders import ALL
from loadtests.bench.crowd import Crowd
from loadtests.bench.field import choose, running
from loadtests.bench.hub_contenders import Hub
from loadtests.bench.processes import cpu_s, machine
from loadtests.bench.publisher import Publisher
from loadtests.cases import allow_many_files
from loadtests.cost import Shape
from loadtests.measure import percentile, usage

SETTLE_S = 0.5
ARRIVE_S = 5.0  # for what is under way when publishing ends


@dataclass
class Pass:
    """One server, one round, one way to publish."""

    us: float  # of the server's processor time per delivered token
    per_second: float
    share: float  # delivered of published
    p50: float
    p99: float


@dataclass
class Round:
    """One server, one round."""

    paced: Pass
    saturated: Pass
    kib: float  # of the server's memory per connection


async def measure(contender: Contender, pids: list[int], shape: Shape, asked: argparse.Namespace) -> Round:
    """One round of one server."""
    crowd = Crowd(contender.port, contender.marker)
    places = await asyncio.to_thread(contender.places, shape.sessions, shape.watchers)
    before = usage(pids)
    await crowd.gather(places)
    await asyncio.sleep(SETTLE_S)
    after = usage(pids)
    link = await contender.link(shape.sessions)
    publisher = Publisher(crowd, shape.sessions, shape.watchers, contender.token, link)
    try:
        paced = await _pass(crowd, pids, lambda: publisher.paced(asked.rate, asked.seconds))
        saturated = await _pass(crowd, pids, lambda: publisher.saturating(asked.seconds))
    finally:
        link.close()
        lost = crowd.lost
        crowd.disperse()
        await asyncio.sleep(SETTLE_S)
    if lost:
        print(f"  {contender.name}: {lost} connections were lost", flush=True)
    assert before is not None
    assert after is not None
    return Round(paced, saturated, (after.rss_kib - before.rss_kib) / len(places))


async def _pass(crowd: Crowd, pids: list[int], publish: Callable[[], Awaitable[int]]) -> Pass:
    crowd.delivered, before, started = 0, cpu_s(pids), time.perf_counter()
    crowd.lags.clear()
    published = await publish()
    seconds, until = time.perf_counter() - started, time.perf_counter() + ARRIVE_S
    # An event would cost the clients something for every token.
    while crowd.delivered < published and time.perf_counter() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    spent = cpu_s(pids) - before
    lags = sorted(crowd.lags)
    return Pass(
        us=spent / max(crowd.delivered, 1) * 1e6,
        per_second=crowd.delivered / seconds,
        share=crowd.delivered / max(published, 1),
        p50=percentile(lags, 0.5) * 1e3,
        p99=percentile(lags, 0.99) * 1e3,
    )


# ---- the report


def table(shape: Shape, rounds: dict[Contender, list[Round]], asked: argparse.Namespace) -> list[str]:
    """One shape as Markdown."""
    hub = next((contender for contender in rounds if isinstance(contender, Hub)), None)
    lines = [
        f"### {shape}",
        "",
        f"| server | us per token at {asked.rate:,.0f}/s | p50 / p99 ms | saturated: us per token | tokens/s | "
        "hub ÷ it, saturated [spread] | KiB per connection | delivered |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for contender, each in sorted(rounds.items(), key=lambda item: _median(r.saturated.us for r in item[1])):
        ratio = "–"
        if hub is not None:
            ratios = [mine.saturated.us / its.saturated.us for mine, its in zip(rounds[hub], each, strict=True)]
            ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}–{max(ratios):.2f}]"
        delivered = min(min(one.paced.share, one.saturated.share) for one in each)
        lines.append(
            f"| {contender.name} | {_median(r.paced.us for r in each):.1f} "
            f"| {_median(r.paced.p50 for r in each):.1f} / {_median(r.paced.p99 for r in each):.1f} "
            f"| {_median(r.saturated.us for r in each):.2f} | {_median(r.saturated.per_second for r in each):,.0f} "
            f"| {ratio} | {_median(r.kib for r in each):.1f} | {delivered:.1%} |"
        )
    return [*lines, ""]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


async def run(asked: argparse.Namespace) -> int:
    """All rounds of all shapes; 1 when the hub lost a token."""
    lost = False
    report = [f"{machine()}; {asked.rounds} interleaved rounds of {asked.seconds:g} s, medians.", ""]
    async with running(ALL, asked.only) as started:
        contenders = {contender: contender.processes(pid) for contender, pid in started.items()}
        for shape in [Shape.parse(text) for text in asked.shapes.split(",")]:
            rounds: dict[Contender, list[Round]] = {contender: [] for contender in contenders}
            for number in range(asked.rounds):
                for contender, pids in contenders.items():
                    rounds[contender].append(await measure(contender, pids, shape, asked))
                print(f"{shape}: round {number + 1} of {asked.rounds}", flush=True)
            lines = table(shape, rounds, asked)
            print("\n".join(lines), flush=True)
            report += lines
            mine = [one for contender, each in rounds.items() if isinstance(contender, Hub) for one in each]
            lost = lost or any(one.paced.share < 1 or one.saturated.share < 1 for one in mine)
    if asked.markdown is not None:
        asked.markdown.write_text("\n".join(report))
    return 1 if lost else 0


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", default="1000x1,1x100,1x1000", help="sessions x watchers of each, with commas")
    parser.add_argument("--rate", type=float, default=20_000, help="deliveries a second when paced (20000)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (4)")
    choose(parser)
    allow_many_files()
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
