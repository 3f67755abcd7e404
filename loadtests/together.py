"""Everything at once: people who talk, tokens that stream and REST reads, on one hub and this machine.

    python -m loadtests.together                       # on a hub of its own, with limits out of the way
    python -m loadtests.together --url http://127.0.0.1:8000 --sessions 500 --messages 200 --tokens 50 --reads 100

People in `--sessions` sessions say `--messages` messages a second, and as many messages times `--tokens` tokens are
delivered a second. What a message is, is the `--mode`:

    runs    each begins a run, which answers it with `--tokens` tokens (the default)
    steer   each steers a run that is under way: the tokens are those of one long answer in each session
    people  each is kept for a team that is silent: the tokens are those of long answers in other sessions, and as many
            sessions more have a run that was paused, which is told what people say when it goes on

The protocol has no message that no team is ever told. Beside them `--reads` REST reads a second go round all that a
person may read. Messages and reads come when they are due, whatever the hub does, and are
timed from then. Each promise is told with its number; ends with 1 when one does not hold. A hub that runs already must
allow one user so much (`PLENTY`).
"""

import argparse
import asyncio
import contextlib
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import uvloop

from loadtests import cases, hub_times, temporary
from loadtests.account import Account
from loadtests.judge import script
from loadtests.measure import Lateness, cpu_by_role, milliseconds, percentile, worker_pid
from loadtests.reads import READS, Reads
from loadtests.run import own_hub
from loadtests.watcher import Watcher

TOKEN_P50_S, TOKEN_P99_S, ACK_P95_S, READ_P95_S = 0.005, 0.05, 0.05, 0.05
WARM_UP_S = 4.0
BEGIN_S = 0.03  # that a long answer may take to begin
END_S = 60.0
PLENTY = ("COMMANDS", "USER_REQUESTS", "COSTLY_REQUESTS", "ADDRESS_REQUESTS")
UNLIMITED = {
    "HUB_LOG_LEVEL": "warning",
    "HUB_RUNS_PER_WORKER": "10000",
    **{f"HUB_{name}_PER_MINUTE": "10000000" for name in PLENTY},
    **{f"HUB_{name[:-1]}_BURST": "100000" for name in PLENTY},
}


@dataclass(frozen=True)
class Promise:
    """A number and its bound, the largest or the least that is allowed. NaN, which is nothing measured, holds never."""

    name: str
    seen: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.seen >= self.bound if self.at_least else self.seen <= self.bound

    def __str__(self) -> str:
        word = "holds" if self.holds else "DOES NOT HOLD"
        return f"{word:<14} {self.name}: {self.seen:,.1f}, {'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass
class Talk:
    """What those who talk have measured and seen, from some moment on."""

    watchers: list[Watcher]
    acks: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    runs: list[tuple[Watcher, str]] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def tokens(self) -> int:
        return sum(watcher.judge.tokens for watcher in self.watchers)

    def begin(self) -> None:
        """Forget what was before."""
        self.acks.clear()
        self.late.clear()
        for watcher in self.watchers:
            watcher.judge.lags.clear()

    async def say(self, watcher: Watcher, session: str, text: str, due: float, on_busy: str) -> None:
        """Say it; its time counts from when it was due."""
        self.late.append(time.perf_counter() - due)
        message = {"session": session, "text": text, "client_id": uuid.uuid4().hex, "on_busy": on_busy}
        try:
            sent = await watcher.ask("message.send", **message)
        except (RuntimeError, TimeoutError) as error:
            self.wrong[f"send failed: {error}"] += 1
            return
        self.acks.append(time.perf_counter() - due)
        if sent["run"]:
            self.runs.append((watcher, sent["run"]))
            if on_busy == "steer":
                self.wrong["there was no run to steer"] += 1


async def begin(said: Talk, sessions: list[str], listeners: list[str], asked: argparse.Namespace) -> None:
    """What goes on before the first message: long answers, and teams that listen."""
    if asked.mode == "runs":
        return
    long = script(int(asked.rate * (WARM_UP_S + asked.seconds + 2 + len(sessions) * BEGIN_S)), asked.rate)
    for watcher, session in zip(said.watchers, sessions, strict=True):
        await said.say(watcher, session, long, time.perf_counter(), "queue")

    async def silence(watcher: Watcher, session: str) -> None:
        await watcher.ask("message.send", session=session, text=script(2, 1, turns=2), client_id=uuid.uuid4().hex)
        await watcher.ask("run.pause", session=session)

    await cases.gently([silence(*pair) for pair in zip(said.watchers, listeners, strict=False)], at_once=20)


async def talk(said: Talk, sessions: list[str], asked: argparse.Namespace) -> None:
    """Messages at a steady rate, session after session."""
    steers = asked.mode != "runs"
    text = script(1, 0) if steers else script(asked.tokens, max(20.0, asked.rate * 1.25))
    async with asyncio.TaskGroup() as tasks:
        started = time.perf_counter()
        for number in range(int(asked.messages * (WARM_UP_S + asked.seconds))):
            due = started + number / asked.messages
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            place = number % len(sessions)
            on_busy = "steer" if steers else "queue"
            tasks.create_task(said.say(said.watchers[place], sessions[place], text, due, on_busy))


async def run(url: str, asked: argparse.Namespace) -> bool:
    """All of it; whether every promise holds."""
    account = Account(url)
    async with cases.watching(url, account, asked.sessions) as watchers, asyncio.TaskGroup() as tasks:
        sessions = await cases.sessions_for(watchers)
        nodes = {watcher.hello["node"] for watcher in watchers}
        workers = {pid for node in nodes if (pid := worker_pid(node)) is not None}
        said, late = Talk(watchers), Lateness()
        first = await watchers[0].say(sessions[0], script(50, 0))
        await watchers[0].finished(first, END_S)
        paths = [path for path in READS if asked.only in path]
        reads = Reads(url, account.token(), paths, connections=asked.connections)
        reads.names = {
            "session": sessions,
            "organisation": [account.get("/v1/organisations")["items"][0]["id"]],
            "run": [first],
        }
        listeners = []
        if asked.mode == "people":  # nobody watches them: there is nothing to see
            opening = [watcher.ask("session.create", team="scripted") for watcher in watchers]
            listeners = [opened["id"] for opened in await cases.gently(opening, at_once=20)]
        await begin(said, sessions, listeners, asked)
        talking = tasks.create_task(talk(said, listeners or sessions, asked))
        await asyncio.sleep(WARM_UP_S)
        said.begin()
        reading = tasks.create_task(reads.run(asked.reads, asked.seconds))
        lateness = tasks.create_task(late.run())
        before, cpu, tokens, at = (
            await hub_times.read(url, nodes),
            cpu_by_role(workers),
            said.tokens,
            time.perf_counter(),
        )
        await asyncio.wait({reading, talking})
        own = (await hub_times.read(url, nodes)).since(before)
        spent, seconds = cpu_by_role(workers), time.perf_counter() - at
        tokens = said.tokens - tokens
        lags = [lag for watcher in watchers for lag in watcher.judge.lags]
        lateness.cancel()
        ended = await cases.gently([w.finished(r, END_S) for w, r in said.runs], at_once=100)
        wrong = said.wrong + cases.wrong(watchers) + reads.wrong + Counter({"runs without an end": ended.count(False)})
    print(
        f"{asked.mode}: {asked.sessions} sessions, {asked.messages:g} messages and {asked.reads:g} reads a second, "
        f"{seconds:.0f} s"
    )
    used = {name: (spent[name] - cpu[name]) / seconds * 100 for name in cpu if name in spent}
    print("  processor, % of a core     " + "  ".join(f"{n} {share:.0f}" for n, share in used.items() if share >= 1))
    print(f"  messages a second          {len(said.acks) / seconds:.0f}")
    print(f"  generator late, ms         loop {milliseconds(late.samples)}  messages {milliseconds(said.late)}")
    print(f"  event loops late, ms       {hub_times.at_most_ms(own['loop'])}")
    print(f"  wait for connections, ms   {hub_times.at_most_ms(own['connection'])}")
    print(f"  token, by the hub, ms      {hub_times.at_most_ms(own['token'])}")
    print(f"  ack, by the hub, ms        {hub_times.at_most_ms(own['ack'])}")
    print(f"  token, at the client, ms   {milliseconds(lags)}")
    print(f"  ack, at the client, ms     {milliseconds(said.acks)}")
    for path, took in sorted(reads.took.items(), key=lambda item: -percentile(item[1], 0.95)):
        print(f"  {path:<52} {milliseconds(took)}  of {len(took)}")
    slowest, worst = max(
        ((path, percentile(took, 0.95)) for path, took in reads.took.items()),
        key=lambda item: item[1],
        default=("none", 0),
    )
    acks = percentile(said.acks, 0.95)
    promises = [
        Promise("tokens delivered a second", tokens / seconds, 0.97 * asked.tokens * asked.messages, at_least=True),
        Promise("p50 of a token, ms", percentile(lags, 0.5) * 1e3, TOKEN_P50_S * 1e3),
        Promise("p99 of a token, ms", percentile(lags, 0.99) * 1e3, TOKEN_P99_S * 1e3),
        Promise("p95 of an ack, ms", acks * 1e3, ACK_P95_S * 1e3),
        Promise(f"p95 of the slowest read ({slowest}), ms", worst * 1e3, READ_P95_S * 1e3),
        Promise("wrong or lost", wrong.total(), 0),
    ]
    return judged(promises, wrong)


def judged(promises: Iterable[Promise], wrong: Counter[str]) -> bool:
    """Tell of each promise whether it holds, and what was wrong; whether all hold."""
    every = list(promises)
    for promise in every:
        print(promise)
    if wrong.total():
        print(dict(wrong))
    return all(promise.holds for promise in every)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.together", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="a hub that runs already; else one is started")
    parser.add_argument("--workers", type=int, default=2, help="of the hub that is started (2)")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--messages", type=float, default=200, help="a second (200)")
    parser.add_argument("--tokens", type=int, default=50, help="of each answer (50)")
    parser.add_argument("--mode", choices=("runs", "steer", "people"), default="runs", help="what messages are (runs)")
    parser.add_argument("--reads", type=float, default=100, help="a second (100)")
    parser.add_argument("--only", default="", help="only reads whose path contains this")
    parser.add_argument("--connections", type=int, default=16, help="of those who read (16)")
    parser.add_argument("--seconds", type=float, default=20, help="of the measurement (20)")
    asked = parser.parse_args()
    asked.rate = asked.tokens * asked.messages / asked.sessions  # of one session's tokens, a second
    cases.allow_many_files()
    with contextlib.ExitStack() as stack:
        if asked.url is None:
            log = stack.enter_context(temporary.folder()) / "hub.log"
            asked.url = stack.enter_context(own_hub(asked.workers, log, UNLIMITED))
        return 0 if uvloop.run(run(asked.url, asked)) else 1


if __name__ == "__main__":
    sys.exit(main())
