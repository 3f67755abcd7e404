"""What a token costs: processor time per token that a watcher got, over all processes of a hub on this machine.

    python -m loadtests.cost --url http://127.0.0.1:8000 --shapes 500x1,1x500 --rate 20
    python -m loadtests.cost --url http://127.0.0.1:8000 --shapes 1x1,20x1 --team scripted-autogen --talk 20x1000

A shape is sessions × watchers of each. Several shapes are measured in turn, round by round; the medians are shown.
With `--talk MESSAGESxTOKENS` the agents speak as fast as they can: in each session, all at once, one run of so many
messages, by its agents in turn, of so many tokens each (`t<message>.<token> `, 5 to 9 bytes). Then all is counted from
the `message.send` until a moment after the end of the last run: writing the log and the checkpoints, too.
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

GOLDEN_RATIO = 0.618033988749895  # its multiples, without their whole parts, are spread evenly over 0 to 1
SETTLE_S = 2.0  # after the last session has begun
REST_S = 0.5  # before and after a talk: what is put down after its end belongs to it
TALK_S = 300.0  # at most


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


@dataclass(frozen=True)
class Talk:
    """A run at full speed: so many messages of so many tokens."""

    messages: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> "Talk":
        messages, _, tokens = text.partition("x")
        return cls(int(messages), int(tokens))


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

    @property
    def hub_us(self) -> float:
        """Microseconds per token without the generator."""
        return sum(value for name, value in self.us.items() if name != "generator")


async def measure(url: str, account: Account, shape: Shape, asked: argparse.Namespace) -> Round:
    """One round of one shape."""
    async with cases.watching(url, account, shape.sessions * shape.watchers) as watchers, asyncio.TaskGroup() as tasks:
        late = Lateness()
        groups = [watchers[i :: shape.sessions] for i in range(shape.sessions)]
        names = await cases.sessions_for([group[0] for group in groups], asked.team)
        await cases.gently(
            [w.join(name) for group, name in zip(groups, names, strict=True) for w in group[1:]], at_once=50
        )
        lateness = tasks.create_task(late.run())
        crowd = _Crowd(watchers, groups, names)
        if asked.talk is None:
            used = await _paced(crowd, asked, tasks)
        else:
            used = await _talked(crowd, asked.talk)
        lateness.cancel()
    return Round(
        us={name: (used.after[name] - cpu) / max(used.tokens, 1) * 1e6 for name, cpu in used.before.items()},
        per_second=used.tokens / used.seconds,
        lag=milliseconds(used.lags),
        ack=milliseconds([ack for watcher in watchers for ack in watcher.acks]),
        late=milliseconds(late.samples),
        deltas_per_token=used.deltas / max(used.tokens, 1),
        wrong=used.wrong,
    )


@dataclass
class _Crowd:
    """Everybody who watches; by session, whose first one speaks; the sessions."""

    watchers: list[Watcher]
    groups: list[list[Watcher]]
    names: list[str]

    def pids(self) -> set[int]:
        """The workers they are connected to."""
        return {pid for w in self.watchers if (pid := worker_pid(w.hello["node"])) is not None}

    def say(self, text: str, ramp_s: float, tasks: asyncio.TaskGroup, period_s: float = 0.0) -> list[asyncio.Task[str]]:
        """Say it in each session, within so many seconds; the runs.

        Their tokens, one in each period, are spread evenly over it. Sessions that begin a whole number of periods apart
        would all speak in the same millisecond, and tokens that come together cost less.
        """
        gap_s = ramp_s / len(self.names)
        return [
            tasks.create_task(cases.say_later(group[0], name, text, gap_s * i + i * GOLDEN_RATIO % 1 * period_s))
            for i, (group, name) in enumerate(zip(self.groups, self.names, strict=True))
        ]

    async def ends(self, runs: list[str], timeout_s: float) -> dict[str, int]:
        """What was wrong when all have seen the end of the run of their session."""
        seen = await asyncio.gather(
            *(w.finished(run, timeout_s) for group, run in zip(self.groups, runs, strict=True) for w in group)
        )
        return cases.wrong(self.watchers) | ({"did not see the end": seen.count(False)} if not all(seen) else {})


@dataclass
class _Used:
    """Processor seconds before and after, by role, and what came in between."""

    before: dict[str, float]
    after: dict[str, float]
    seconds: float
    tokens: int
    deltas: int
    lags: list[float]
    wrong: dict[str, int]


async def _paced(crowd: _Crowd, asked: argparse.Namespace, tasks: asyncio.TaskGroup) -> _Used:
    """A window of time within runs that go on at their rate."""
    ramp, loop = min(asked.ramp, len(crowd.names) / 10), asyncio.get_running_loop()
    rate = asked.rate if asked.total is None else asked.total / len(crowd.watchers)
    # Longer than the window, also when a period is: a run that ends within it would be counted, too.
    text = script(int(rate * (ramp + SETTLE_S + asked.seconds + 1)) + 3, rate)
    runs = await asyncio.gather(*crowd.say(text, ramp, tasks, 1 / rate))
    await asyncio.sleep(SETTLE_S)
    for watcher in crowd.watchers:
        watcher.judge.lags.clear()
    tokens, deltas, pids, at = _tokens(crowd.watchers), _deltas(crowd.watchers), crowd.pids(), loop.time()
    before = cpu_by_role(pids)
    await asyncio.sleep(asked.seconds)
    after, seconds = cpu_by_role(pids), loop.time() - at
    tokens, deltas = _tokens(crowd.watchers) - tokens, _deltas(crowd.watchers) - deltas
    lags = [lag for watcher in crowd.watchers for lag in watcher.judge.lags]
    return _Used(before, after, seconds, tokens, deltas, lags, await crowd.ends(runs, asked.seconds + 60))


async def _talked(crowd: _Crowd, talk: Talk) -> _Used:
    """Whole runs, as fast as they can be."""
    await asyncio.sleep(REST_S)
    loop, pids = asyncio.get_running_loop(), crowd.pids()
    before, at = cpu_by_role(pids), loop.time()
    async with asyncio.TaskGroup() as tasks:
        said = crowd.say(script(talk.tokens, 0, talk.messages), 0, tasks)
    wrong = await crowd.ends([task.result() for task in said], TALK_S)
    seconds = loop.time() - at
    await asyncio.sleep(REST_S)
    after = cpu_by_role(pids)
    tokens, deltas = _tokens(crowd.watchers), _deltas(crowd.watchers)
    lost = len(crowd.watchers) * talk.messages * talk.tokens - tokens
    wrong |= {"tokens not shown": lost} if lost else {}
    lags = [lag for watcher in crowd.watchers for lag in watcher.judge.lags]
    return _Used(before, after, seconds, tokens, deltas, lags, wrong)


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


def _keeps(most: float, first: list[Round], last: list[Round]) -> bool:
    """Whether a token of the last shape costs so little more than one of the first, by the median of the rounds."""
    ratios = [its.hub_us / one.hub_us for one, its in zip(first, last, strict=True)]
    seen = statistics.median(ratios)
    word = "holds" if seen <= most else "DOES NOT HOLD"
    print(
        f"\n{word:<14} the last shape costs {seen:.2f} [{min(ratios):.2f}–{max(ratios):.2f}] of the first, ≤ {most:g}"
    )
    return seen <= most


async def run(asked: argparse.Namespace) -> bool:
    """All rounds; whether nothing was wrong."""
    account = Account(asked.url)
    shapes = [Shape.parse(text) for text in asked.shapes.split(",")]
    rounds: dict[Shape, list[Round]] = {shape: [] for shape in shapes}
    for number in range(asked.rounds):
        for shape in shapes:
            one = await measure(asked.url, account, shape, asked)
            rounds[shape].append(one)
            print(f"round {number + 1}: {shape}: {one.hub_us:.1f} us per token", flush=True)
    for shape in shapes:
        show(shape, rounds[shape])
    if asked.ratio is not None and not _keeps(asked.ratio, rounds[shapes[0]], rounds[shapes[-1]]):
        return False
    return not any(one.wrong for each in rounds.values() for one in each)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument(
        "--shapes", default="500x1,1x500", help="sessions x watchers of each, with commas (500x1,1x500)"
    )
    parser.add_argument("--rate", type=float, default=20, help="tokens a second of each session (20)")
    parser.add_argument("--total", type=float, help="tokens a second to all watchers together, instead of --rate")
    parser.add_argument(
        "--ratio", type=float, help="what a token of the last shape may cost at most, as a multiple of one of the first"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (10)")
    parser.add_argument("--rounds", type=int, default=3, help="of each shape (3)")
    parser.add_argument("--ramp", type=float, default=10, help="seconds within which the sessions begin, at most (10)")
    parser.add_argument("--team", default="scripted", help="a scripted team (scripted)")
    parser.add_argument(
        "--talk", type=Talk.parse, help="whole runs at full speed: messages x tokens of each; --rate is not used then"
    )
    asked = parser.parse_args()
    if asked.rate <= 0 or (asked.total is not None and asked.total <= 0):
        parser.error("--rate and --total are more than 0")
    cases.allow_many_files()
    return 0 if uvloop.run(run(asked)) else 1


if __name__ == "__main__":
    sys.exit(main())
