"""What a token costs: processor time per token that a watcher got, over all processes of a hub on this machine.

    python -m loadtests.cost --url http://127.0.0.1:8000 --shapes 500x1,1x500 --rate 20

A shape is sessions × watchers of each. Several shapes are measured in turn, round by round; the medians are shown.
Processor time is steadier than the clock on a machine that others use, too; compare only what one run has measured.
Times are those between a token's `ts` and its arrival, and between a `message.send` and its ok, as a client sees them.
"""

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass, field
from typing import Any

import uvloop

from loadtests import cases
from loadtests.account import Account
from loadtests.judge import script
from loadtests.measure import Lateness, cpu_by_role, milliseconds, worker_pid
from loadtests.watcher import Watcher

SETTLE_S = 2.0  # after the last session has begun


@dataclass(frozen=True)
class Shape:
    """So many sessions, each with so many watchers."""

    sessions: int
    watchers: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        sessions, _, watchers = text.partition("x")
        return cls(int(sessions), int(watchers))

    def __str__(self) -> str:
        return f"{self.sessions} sessions × {self.watchers} watchers"


@dataclass
class Round:
    """One measurement: microseconds per token by process, milliseconds of what was waited for, and what went wrong."""

    us: dict[str, float]
    per_second: float
    lag: dict[str, float]
    ack: dict[str, float]
    late: dict[str, float]
    deltas_per_token: float
    wrong: dict[str, int] = field(default_factory=dict)


async def measure(url: str, account: Account, shape: Shape, asked: argparse.Namespace) -> Round:
    """One round of one shape."""
    async with cases.watching(url, account, shape.sessions * shape.watchers) as watchers, asyncio.TaskGroup() as tasks:
        late = Lateness()
        groups = [watchers[i :: shape.sessions] for i in range(shape.sessions)]
        names = await cases.sessions_for([group[0] for group in groups], asked.team)
        await cases.gently(
            [w.join(name) for group, name in zip(groups, names, strict=True) for w in group[1:]], at_once=50
        )
        ramp = min(asked.ramp, shape.sessions / 10)
        text = script(int(asked.rate * (ramp + SETTLE_S + asked.seconds + 1)), asked.rate)
        begun = [
            tasks.create_task(cases.say_later(group[0], name, text, ramp * i / shape.sessions))
            for i, (group, name) in enumerate(zip(groups, names, strict=True))
        ]
        runs = await asyncio.gather(*begun)
        await asyncio.sleep(SETTLE_S)
        pids = {pid for w in watchers if (pid := worker_pid(w.hello["node"])) is not None}
        for watcher in watchers:
            watcher.judge.lags.clear()
        lateness = tasks.create_task(late.run())
        tokens, deltas, cpu, at = (
            _tokens(watchers),
            _deltas(watchers),
            cpu_by_role(pids),
            asyncio.get_running_loop().time(),
        )
        await asyncio.sleep(asked.seconds)
        spent, seconds = cpu_by_role(pids), asyncio.get_running_loop().time() - at
        tokens, deltas = _tokens(watchers) - tokens, _deltas(watchers) - deltas
        lags = [lag for watcher in watchers for lag in watcher.judge.lags]
        lateness.cancel()
        ends = await asyncio.gather(
            *(w.finished(run, asked.seconds + 60) for group, run in zip(groups, runs, strict=True) for w in group)
        )
        wrong = cases.wrong(watchers) | ({"did not see the end": ends.count(False)} if not all(ends) else {})
    return Round(
        us={name: (spent[name] - before) / max(tokens, 1) * 1e6 for name, before in cpu.items() if name in spent},
        per_second=tokens / seconds,
        lag=milliseconds(lags),
        ack=milliseconds([ack for watcher in watchers for ack in watcher.acks]),
        late=milliseconds(late.samples),
        deltas_per_token=deltas / max(tokens, 1),
        wrong=wrong,
    )


def _tokens(watchers: list[Watcher]) -> int:
    return sum(watcher.judge.tokens for watcher in watchers)


def _deltas(watchers: list[Watcher]) -> int:
    return sum(watcher.judge.deltas for watcher in watchers)


def show(shape: Shape, rounds: list[Round]) -> None:
    """The medians of the rounds of one shape."""
    names = dict.fromkeys(name for one in rounds for name in one.us)
    us = {name: statistics.median(one.us.get(name, 0.0) for one in rounds) for name in names}
    hub = sum(value for name, value in us.items() if name != "generator")
    median: dict[str, Any] = {
        "tokens a second": round(statistics.median(one.per_second for one in rounds)),
        "us per token": "  ".join(f"{name} {value:.1f}" for name, value in us.items() if value >= 0.05),
        "without the generator": f"{hub:.1f} us",
        "deltas per token": round(statistics.median(one.deltas_per_token for one in rounds), 2),
    }
    for title, key in (("token, ms", "lag"), ("ack, ms", "ack"), ("generator late, ms", "late")):
        each: list[dict[str, float]] = [getattr(one, key) for one in rounds]
        median[title] = "  ".join(f"{k} {statistics.median(e[k] for e in each):.1f}" for k in each[0])
    print(f"\n{shape}, medians of {len(rounds)}")
    for name, value in median.items():
        print(f"  {name:<24} {value}")
    wrong = [one.wrong for one in rounds if one.wrong]
    print(f"  {'wrong':<24} {wrong or 'nothing'}", flush=True)


async def run(asked: argparse.Namespace) -> bool:
    """All rounds; whether nothing was wrong."""
    account = Account(asked.url)
    shapes = [Shape.parse(text) for text in asked.shapes.split(",")]
    rounds: dict[Shape, list[Round]] = {shape: [] for shape in shapes}
    for _ in range(asked.rounds):
        for shape in shapes:
            rounds[shape].append(await measure(asked.url, account, shape, asked))
    for shape in shapes:
        show(shape, rounds[shape])
    return not any(one.wrong for each in rounds.values() for one in each)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument(
        "--shapes", default="500x1,1x500", help="sessions x watchers of each, with commas (500x1,1x500)"
    )
    parser.add_argument("--rate", type=float, default=20, help="tokens a second of each session (20)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (10)")
    parser.add_argument("--rounds", type=int, default=3, help="of each shape (3)")
    parser.add_argument("--ramp", type=float, default=10, help="seconds within which the sessions begin, at most (10)")
    parser.add_argument("--team", default="scripted", help="a scripted team (scripted)")
    cases.allow_many_files()
    return 0 if uvloop.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
