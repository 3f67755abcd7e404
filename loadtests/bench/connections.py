"""What it costs a server to let somebody in, and to keep them: the hub, and others that ask nobody who they are.

    python -m loadtests.bench.connections --connections 500 --rounds 5 --markdown report.md

Each round opens so many connections more at every server and keeps them all. A handshake's cost is the processor time
of all processes of the server, PostgreSQL and Valkey of the hub among them; that of a connection that does nothing is
the growth of the memory of those that hold it (of the hub its worker), without what the kernel has for a socket.
Servers begin in the same run, with some connections that are not counted; users of the hub sign in before, and are
known as those are who come again. Rounds are interleaved, a ratio is made within a round, medians and the spread are
shown.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import uvloop

from loadtests.bench.contender import Contender
from loadtests.bench.contenders import Limit, Nchan, NodeWs, Plain
from loadtests.bench.crowd import Crowd
from loadtests.bench.field import choose, running
from loadtests.bench.hub_contenders import WholeHub
from loadtests.bench.processes import cpu_s, machine, spread
from loadtests.cases import allow_many_files
from loadtests.measure import usage

SETTLE_S = 1.0
WARM = 200
ALL: tuple[type[Contender], ...] = (WholeHub, Plain, Nchan, NodeWs, Limit)


@dataclass
class Round:
    """One server, one round."""

    us: float  # of processor time per handshake
    kib: float  # of memory per connection
    per_second: float


async def arrive(contender: Contender, started: int, crowd: Crowd, count: int) -> Round:
    """So many more connections, which stay in `crowd`. Raises `OSError`, `TimeoutError`."""
    places = await asyncio.to_thread(contender.idle_places, count)
    holders, there = contender.holders(started), crowd.members
    before, used, began = usage(holders), cpu_s(contender.processes(started)), time.perf_counter()
    await crowd.gather(places)
    seconds = time.perf_counter() - began
    await asyncio.sleep(SETTLE_S)
    crowd.members = there + crowd.members
    spent, after = cpu_s(contender.processes(started)) - used, usage(holders)
    assert before is not None
    assert after is not None
    return Round(spent / count * 1e6, (after.rss_kib - before.rss_kib) / count, count / seconds)


def table(rounds: dict[Contender, list[Round]]) -> list[str]:
    """The report as Markdown."""
    hub = next((contender for contender in rounds if isinstance(contender, WholeHub)), None)
    lines = [
        "| server | µs of processor time per handshake [spread] | handshakes per processor second | hub ÷ it [spread] "
        "| KiB per idle connection [spread] | hub ÷ it, of the medians | handshakes/s by the clock |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for contender, each in rounds.items():
        us, kib = [one.us for one in each], [one.kib for one in each]
        time_ratio = memory_ratio = "–"
        if hub is not None and contender is not hub:
            time_ratio = spread([mine.us / its.us for mine, its in zip(rounds[hub], each, strict=True)], ".2f")
            memory_ratio = f"{_median(one.kib for one in rounds[hub]) / max(_median(kib), 0.1):.2f}"
        lines.append(
            f"| {contender.name} | {spread(us, '.0f')} | {1e6 / _median(us):,.0f} | {time_ratio} "
            f"| {spread(kib, '.1f')} | {memory_ratio} | {_median(one.per_second for one in each):,.0f} |"
        )
    return [*lines, ""]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


async def run(asked: argparse.Namespace) -> int:
    """All rounds; 1 when a connection was lost."""
    async with running(ALL, asked.only) as contenders:
        crowds = {contender: Crowd(contender.port, b"\0") for contender in contenders}
        rounds: dict[Contender, list[Round]] = {contender: [] for contender in contenders}
        for contender, started in contenders.items():
            await arrive(contender, started, crowds[contender], WARM)
        for number in range(asked.rounds):
            for contender, started in contenders.items():
                rounds[contender].append(await arrive(contender, started, crowds[contender], asked.connections))
            print(f"round {number + 1} of {asked.rounds}", flush=True)
        lost = {contender.name: crowd.lost for contender, crowd in crowds.items() if crowd.lost}
        for crowd in crowds.values():
            crowd.disperse()
    head = f"{machine()}; {asked.rounds} interleaved rounds of {asked.connections} connections more; medians."
    report = [head, "", *table(rounds)]
    print("\n".join(report), flush=True)
    if lost:
        print(f"LOST: {lost}", flush=True)
    if asked.markdown is not None:
        asked.markdown.write_text("\n".join(report))
    return int(bool(lost))


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench.connections", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--connections", type=int, default=500, help="of each round and server (500)")
    choose(parser)
    allow_many_files()
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
