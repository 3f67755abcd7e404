"""The cases of the acceptance bench. Each gives its numbers and the list of what does not hold."""

import asyncio
import itertools
import resource
import time
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from loadtests import hub_times
from loadtests.account import Account
from loadtests.judge import script
from loadtests.measure import Lateness, milliseconds, percentile, usage, worker_pid
from loadtests.watcher import Watcher

P95_LIMIT_S = 0.2
IDLE_LIMIT_KIB = 40.0
HANDSHAKES_AT_ONCE = 20
PROBES = 4
PROBE_EVERY_S = 1.0
SETTLE_S = 5.0


@dataclass
class Outcome:
    """One case: its numbers, and every promise that was broken, in words."""

    case: str
    numbers: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def require(self, holds: bool, otherwise: str) -> None:
        """Note a broken promise."""
        if not holds:
            self.broken.append(otherwise)


async def many_sessions(url: str, account: Account, *, count: int, rate: float, seconds: float, ramp: float) -> Outcome:
    """`count` sessions with one watcher each, all streaming `rate` tokens a second; begun evenly within `ramp` s."""
    outcome = Outcome(f"{count} sessions × 1 watcher, {rate:g} tokens/s, {seconds:g} s")
    async with watching(url, account, count) as watchers, _observed(outcome, url, account, watchers):
        sessions = await sessions_for(watchers)
        tokens = int(rate * seconds)
        ask = script(tokens, rate)
        work = [
            _converse(w, s, ask, seconds + 60, ramp * n / count)
            for n, (w, s) in enumerate(zip(watchers, sessions, strict=True))
        ]
        ends = await asyncio.gather(*work)
        _judge(outcome, watchers, ends, expected=count * tokens)
    return outcome


async def many_watchers(url: str, account: Account, *, count: int, rate: float, seconds: float) -> Outcome:
    """One session that streams `rate` tokens a second to `count` watchers."""
    outcome = Outcome(f"1 session × {count} watchers, {rate:g} tokens/s, {seconds:g} s")
    async with watching(url, account, count) as watchers, _observed(outcome, url, account, watchers):
        session = (await watchers[0].ask("session.create", team="scripted"))["id"]
        await gently([watcher.join(session) for watcher in watchers], at_once=50)
        tokens = int(rate * seconds)
        run = await watchers[0].say(session, script(tokens, rate))
        ends = await asyncio.gather(*(watcher.finished(run, seconds + 60) for watcher in watchers))
        _judge(outcome, watchers, ends, expected=count * tokens)
    return outcome


async def idle_connections(
    url: str, accounts: Sequence[Account], *, count: int, seconds: float, follow: bool = False
) -> Outcome:
    """`count` connections that do nothing, of these people in turn: what each costs, and whether they stay. With
    `follow` each follows a session of its own, in which nothing happens; what that costs is only told."""
    outcome = Outcome(f"{count} idle connections{' that follow a session' if follow else ''}, {seconds:g} s")
    # Warm up first: buffers and code that every hub needs once are no cost of a connection.
    async with watching(url, accounts[0], 200) as some:
        pids = sorted({pid for w in some if (pid := worker_pid(w.hello["node"])) is not None})
    await asyncio.sleep(SETTLE_S)
    before = usage(pids)
    async with watching(url, accounts[0], count, *accounts[1:]) as watchers:
        if follow:
            await sessions_for(watchers)
        await asyncio.sleep(SETTLE_S)
        connected = usage(pids)
        started = time.monotonic()
        await asyncio.sleep(seconds)
        after = usage(pids)
        lost = Counter(w.close_code for w in watchers if w.close_code is not None)
        answers = await gently([_answers(w) for w in watchers if w.close_code is None], at_once=100)
        answered = answers.count("")
        held = time.monotonic() - started
    outcome.numbers = {"held_s": round(held), "lost": dict(lost), "answer_a_ping_at_the_end": answered}
    outcome.require(not lost, f"{lost.total()} connections were lost: {dict(lost)}")
    silent = dict(Counter(why for why in answers if why))
    outcome.require(not silent, f"connections did not answer: {silent}")
    if before and connected and after and pids:
        each = (max(connected.rss_kib, after.rss_kib) - before.rss_kib) / count
        busy = (after.cpu_s - connected.cpu_s) / seconds
        outcome.numbers |= {"workers": len(pids), "kib_each": round(each, 1), "idle_cpu_percent": round(busy * 100, 1)}
        outcome.require(follow or each < IDLE_LIMIT_KIB, f"an idle connection costs {each:.1f} KiB")
    else:
        outcome.numbers["kib_each"] = "unknown: the workers are not on this machine"
    return outcome


async def whole(case: Coroutine[None, None, Outcome], name: str) -> Outcome:
    """A case, or why it could not be carried through."""
    try:
        return await case
    except* (OSError, RuntimeError, TimeoutError) as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        failure = f"{len(group.exceptions)} times or more, first: {first or type(first).__name__}"
    return Outcome(name, {}, [f"could not be carried through: {failure}"])


# ---- parts


@asynccontextmanager
async def watching(url: str, account: Account, count: int, *more: Account) -> AsyncGenerator[list[Watcher]]:
    tokens = [each.token() for each in (account, *more)]
    watchers = [Watcher() for _ in range(count)]
    try:
        connecting = [watcher.connect(url, token) for watcher, token in zip(watchers, itertools.cycle(tokens))]
        await gently(connecting, at_once=HANDSHAKES_AT_ONCE)
        yield watchers
    finally:
        for watcher in watchers:
            watcher.close()
        await asyncio.sleep(0.5)  # for the goodbyes to go out


@asynccontextmanager
async def _observed(outcome: Outcome, url: str, account: Account, watchers: list[Watcher]) -> AsyncGenerator[None]:
    """Probes beside the load: how fast a message is committed while everything streams; how late we are ourselves."""
    lateness = Lateness()
    async with watching(url, account, PROBES) as probes, asyncio.TaskGroup() as tasks:
        sessions = await sessions_for(probes)
        nodes = {w.hello["node"] for w in (*watchers, *probes)}
        before = await hub_times.read(url, nodes)
        running = [tasks.create_task(lateness.run())]
        running += [tasks.create_task(_probe(p, s)) for p, s in zip(probes, sessions, strict=True)]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
        own = (await hub_times.read(url, nodes)).since(before)
    for name in ("token", "ack"):
        outcome.numbers[f"{name}_by_the_hub_ms"] = hub_times.at_most_ms(own[name])
        p95 = hub_times.percentile(own[name], 0.95)
        outcome.require(p95 <= P95_LIMIT_S, f"p95 of a {name} is up to {p95} s by the hub's own count")
    acks = [ack for probe in probes for ack in probe.acks]
    trouble = sum((probe.judge.anomalies for probe in probes), Counter())
    outcome.require(not trouble, f"anomalies of the probes: {dict(trouble)}")
    outcome.numbers["ack_under_load_ms"] = milliseconds(acks)
    outcome.numbers["acks_measured"] = len(acks)
    outcome.numbers["generator_late_ms"] = milliseconds(lateness.samples)
    outcome.require(percentile(acks, 0.95) < P95_LIMIT_S, f"p95 of an ack under load is {percentile(acks, 0.95):.3f} s")


async def say_later(watcher: Watcher, session: str, text: str, delay_s: float) -> str:
    """Say it after a while; the run, or "" for a send that the hub refuses, which is an anomaly."""
    await asyncio.sleep(delay_s)
    try:
        return await watcher.say(session, text)
    except (RuntimeError, TimeoutError) as e:
        watcher.judge.anomalies[f"send failed: {e}"] += 1
        return ""


async def _converse(watcher: Watcher, session: str, text: str, timeout_s: float, delay_s: float) -> bool:
    """Say it after a while and wait for the end, which a refused send does not have."""
    run = await say_later(watcher, session, text, delay_s)
    return bool(run) and await watcher.finished(run, timeout_s)


async def _probe(probe: Watcher, session: str) -> None:
    while True:
        await _converse(probe, session, script(1, 0), 60, PROBE_EVERY_S)


async def sessions_for(watchers: list[Watcher], team: str = "scripted") -> list[str]:
    """A session of its own for each, followed."""

    async def one(watcher: Watcher) -> str:
        session: str = (await watcher.ask("session.create", team=team))["id"]
        await watcher.join(session)
        return session

    return await gently([one(watcher) for watcher in watchers], at_once=20)


async def gently(work: Iterable[Any], *, at_once: int) -> list[Any]:
    """Await all, some at once: set-up is no storm."""
    slots = asyncio.Semaphore(at_once)

    async def one(part: Any) -> Any:
        async with slots:
            return await part

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(part)) for part in work]
    return [task.result() for task in running]


async def _answers(watcher: Watcher) -> str:
    """Why it does not answer; "" when it does."""
    try:
        await watcher.ask("ping")
    except (TimeoutError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return ""


def wrong(watchers: list[Watcher]) -> Counter[str]:
    """What these watchers have seen that must never happen, by kind."""
    found = sum((watcher.judge.anomalies for watcher in watchers), Counter[str]())
    return found + Counter(f"closed with {w.close_code}" for w in watchers if w.close_code is not None)


def allow_many_files() -> None:
    """Let this process have as many connections as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _judge(outcome: Outcome, watchers: list[Watcher], ends: list[bool], *, expected: int) -> None:
    lags = [lag for watcher in watchers for lag in watcher.judge.lags]
    anomalies = sum((watcher.judge.anomalies for watcher in watchers), Counter())
    closes = Counter(w.close_code for w in watchers if w.close_code is not None)
    sends = [ack for watcher in watchers for ack in watcher.acks]
    outcome.numbers |= {
        "finished": f"{sum(ends)}/{len(ends)}",
        "tokens_streamed": sum(watcher.judge.tokens for watcher in watchers),
        "tokens_expected": expected,
        "lag_ms": milliseconds(lags),
        "ack_of_the_start_ms": milliseconds(sends),
        "anomalies": dict(anomalies),
        "closed": dict(closes),
        "merged_deltas": sum(watcher.judge.merged for watcher in watchers),
        "snapshots": sum(watcher.judge.snapshots for watcher in watchers),
        "resyncs": sum(watcher.judge.resyncs for watcher in watchers),
    }
    outcome.require(all(ends), f"{len(ends) - sum(ends)} watchers did not see the end")
    outcome.require(not anomalies, f"anomalies: {dict(anomalies)}")
    outcome.require(not closes, f"connections were closed: {dict(closes)}")
    outcome.require(percentile(lags, 0.95) < P95_LIMIT_S, f"p95 of a token's way is {percentile(lags, 0.95):.3f} s")
