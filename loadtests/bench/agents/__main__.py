"""Compare the hub with whole agent servers: the same two AutoGen agents, the same words, somebody who watches.

    python -m loadtests.bench.agents --install                    # first: AutoGen Studio and Chainlit, apart
    python -m loadtests.bench.agents --rounds 5 --markdown report.md

What is compared is the processor time of all processes of a server per token that its watchers have got, from the
message that asks for a run until a moment after its end. Sessions are new for each run, and made and joined before it.
The rounds of all servers are interleaved; a ratio is made within a round; medians and the spread are shown. What is not
installed is named and left out. Ends with 1 when a token was lost or stood in the wrong place, at any server.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests import temporary
from loadtests.bench.agents.servers import ALL, AgentServer, Hub
from loadtests.bench.agents.talk import Talk
from loadtests.bench.contender import Missing
from loadtests.bench.field import choose, is_asked_for
from loadtests.bench.processes import cpu_s, free_port, machine, process, spread, tree

START_S = 90.0
SETTLE_S = 0.5


@dataclass
class Round:
    """One server, one round: microseconds of processor time and tokens a second."""

    us: float
    us_by_program: dict[str, float]
    per_second: float


async def measure(server: AgentServer, root: int, talk: Talk, sessions: int, runs: int) -> tuple[Round, list[str]]:
    """One round of one server, and what was wrong."""
    spent, seconds, wrong = dict[str, float](), 0.0, list[str]()
    for _ in range(runs):
        watches = [server.watch(talk) for _ in range(sessions)]
        try:
            await asyncio.gather(*(watch.connect() for watch in watches))
            await asyncio.sleep(SETTLE_S)
            before, began = _spent(root), time.perf_counter()
            await asyncio.gather(*(watch.run() for watch in watches))
            seconds += time.perf_counter() - began
            await asyncio.sleep(SETTLE_S)  # what is put down after the end belongs to the run
            for key, (program, used) in _spent(root).items():
                spent[program] = spent.get(program, 0.0) + used - before.get(key, ("", 0.0))[1]
            wrong += [trouble for watch in watches if (trouble := watch.wrong()) is not None]
        finally:
            for watch in watches:
                watch.close()
            await asyncio.sleep(SETTLE_S)
    tokens = talk.total * sessions * runs
    by_program = {program: used / tokens * 1e6 for program, used in spent.items()}
    return Round(sum(by_program.values()), by_program, tokens / seconds), wrong


def _spent(root: int) -> dict[int, tuple[str, float]]:
    """Of each process: its program, and its processor time so far."""
    found = dict[int, tuple[str, float]]()
    for pid in tree(root):
        with contextlib.suppress(OSError):
            program = Path(f"/proc/{pid}/comm").read_text().strip()
            found[pid] = (program, cpu_s([pid]))
    return found


@contextlib.asynccontextmanager
async def running(asked: argparse.Namespace, talk: Talk) -> AsyncIterator[dict[AgentServer, int]]:
    """All servers that there are, with the process that each began with."""
    with temporary.folder() as build, contextlib.ExitStack() as stack:
        started: dict[AgentServer, int] = {}
        for number, kind in enumerate(ALL):
            if not is_asked_for(kind.name, asked.only):
                continue
            folder = build / str(number)
            folder.mkdir()
            server = kind(free_port(), folder)
            try:
                server.prepare(install=asked.install)
            except Missing as missing:
                print(f"left out: {server.name}: {missing}", flush=True)
                continue
            log = folder / "log"
            started[server] = stack.enter_context(process(server.command(talk), server.environment(talk), log)).pid
            deadline = time.monotonic() + START_S
            while not await asyncio.to_thread(server.is_ready):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{server.name} did not start: {log.read_text()[-2000:]}")
                await asyncio.sleep(0.1)
        yield started


# ---- the report


def table(sessions: int, rounds: dict[AgentServer, list[Round]]) -> list[str]:
    """One number of sessions as Markdown."""
    hub = next((server for server in rounds if isinstance(server, Hub)), None)
    lines = [
        f"### {sessions} session{'s' if sessions > 1 else ''} at once, one watcher each",
        "",
        "| server | µs of processor time per token [spread] | hub ÷ it [spread] | tokens/s | where |",
        "|---|--:|--:|--:|---|",
    ]
    for server, each in rounds.items():
        ratio = "–"
        if hub is not None and server is not hub:
            ratio = spread([mine.us / its.us for mine, its in zip(rounds[hub], each, strict=True)], ".3f")
        programs = dict.fromkeys(program for one in each for program in one.us_by_program)
        parts = {name: _median(one.us_by_program.get(name, 0.0) for one in each) for name in programs}
        where = ", ".join(f"{name} {value:.1f}" for name, value in parts.items() if value >= 0.1)
        us = spread([one.us for one in each], ".1f")
        lines.append(f"| {server.name} | {us} | {ratio} | {_median(one.per_second for one in each):,.0f} | {where} |")
    return [*lines, ""]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


async def run(asked: argparse.Namespace) -> int:
    """All rounds; 1 when something was wrong."""
    talk, failed = Talk.parse(asked.talk), False
    report = [
        f"{machine()}; {asked.rounds} interleaved rounds of {asked.runs} runs of {talk.turns} messages of "
        f"{talk.tokens} tokens in each session; medians.",
        "",
    ]
    async with running(asked, talk) as servers:
        report += [*(f"* {server.name}: {server.versions()}" for server in servers), ""]
        for sessions in [int(text) for text in asked.sessions.split(",")]:
            rounds: dict[AgentServer, list[Round]] = {server: [] for server in servers}
            for number in range(-1, asked.rounds):
                for server, root in servers.items():
                    one, wrong = await measure(server, root, talk, sessions, asked.runs if number >= 0 else 1)
                    if number >= 0:  # the first warms up
                        rounds[server].append(one)
                    if wrong:
                        failed = True
                        print(f"WRONG: {server.name}: {wrong[:3]}", flush=True)
                print(f"{sessions} sessions: round {number + 1} of {asked.rounds}", flush=True)
            lines = table(sessions, rounds)
            print("\n".join(lines), flush=True)
            report += lines
    if asked.markdown is not None:
        asked.markdown.write_text("\n".join(report))
    return int(failed)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench.agents", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--install", action="store_true", help="install what is missing, in environments of its own")
    parser.add_argument("--sessions", default="1,10", help="how many at once, with commas (1,10)")
    parser.add_argument("--talk", default="10x400", help="messages of a run x tokens of each (10x400)")
    parser.add_argument("--runs", type=int, default=2, help="of each session in a round (2)")
    choose(parser)
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
