"""What one REST read costs: processor time of the worker, PostgreSQL and Valkey for each kind of read.

    python -m loadtests.read_costs                                          # on a hub of its own, with one worker
    python -m loadtests.read_costs --url http://127.0.0.1:8000 --url http://127.0.0.1:8001   # hubs beside each other

One connection asks one thing at a time, so that nothing is shared between reads; each kind is asked for `--reads` times
in a row, hub after hub, `--rounds` times over. Told are medians of the rounds. Other work of the hub counts, too: it is
to be one that nobody else uses, with one worker, and must allow one user so much (`loadtests.together.PLENTY`).
"""

import argparse
import asyncio
import contextlib
import sys
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from loadtests import cases, temporary
from loadtests.account import Account
from loadtests.judge import script
from loadtests.measure import cpu_by_role, worker_pid
from loadtests.reads import READS, Connection
from loadtests.run import own_hub
from loadtests.together import UNLIMITED

END_S = 60.0
MESSAGES = 5  # of the session that is read, and as many answers
USUAL = (
    "/v1/me", "/v1/sessions?limit=50", "/v1/sessions/{session}", "/v1/sessions/{session}/members",
    "/v1/sessions/{session}/events?limit=100", "/v1/sessions/{session}/transcript", "/v1/runs/{run}",
)  # fmt: skip


@dataclass(frozen=True)
class Hub:
    """A hub with something to read."""

    url: str
    token: str
    workers: frozenset[int]
    names: dict[str, str]

    def path(self, path: str) -> str:
        for name, value in self.names.items():
            path = path.replace("{" + name + "}", value)
        return path


async def prepared(url: str) -> Hub:
    """A user with a session in which something was said."""
    account = Account(url)
    async with cases.watching(url, account, 1) as (watcher,):
        (session,) = await cases.sessions_for([watcher])
        for _ in range(MESSAGES):
            run = await watcher.say(session, script(20, 0))
            await watcher.finished(run, END_S)
        worker = worker_pid(watcher.hello["node"])
    if worker is None:
        raise RuntimeError("the hub is not on this machine")
    organisation = account.get("/v1/organisations")["items"][0]["id"]
    names = {"session": session, "run": run, "organisation": organisation}
    return Hub(url, account.token(), frozenset({worker}), names)


async def measure(urls: list[str], asked: argparse.Namespace) -> bool:
    """Measure and tell; whether every answer was right."""
    hubs = [await prepared(url) for url in urls]
    paths = [path for path in (READS if asked.all else USUAL) if asked.only in path]
    spent: defaultdict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    wrong = 0
    for _ in range(asked.rounds):
        for path in paths:
            for place, hub in enumerate(hubs):
                connection = await Connection.open(hub.url)
                before = cpu_by_role(hub.workers)
                for _ in range(asked.reads):
                    wrong += await connection.get(hub.path(path), hub.token) != 200
                connection.close()
                after = cpu_by_role(hub.workers)
                spent[path, place].append({n: (after[n] - before.get(n, 0.0)) / asked.reads * 1e6 for n in after})
    for path in paths:
        for place, url in enumerate(urls):
            rounds = spent[path, place]
            told = "  ".join(
                f"{name} {median(one.get(name, 0.0) for one in rounds):5.0f}"
                for name in sorted({name for one in rounds for name in one} - {"supervisor", "generator"})
            )
            print(f"{path:<48} {url if len(urls) > 1 else ''}  µs: {told}")
    if wrong:
        print(f"{wrong} answers were not 200")
    return not wrong


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.read_costs", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", action="append", help="a hub that runs already; more are measured in turn")
    parser.add_argument("--reads", type=int, default=200, help="of a kind in a row (200)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="every kind of read, not only the usual")
    parser.add_argument("--only", default="", help="only reads whose path contains this")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if asked.url is None:
            log = stack.enter_context(temporary.folder()) / "hub.log"
            asked.url = [stack.enter_context(own_hub(1, log, UNLIMITED))]
        return 0 if asyncio.run(measure(asked.url, asked)) else 1


if __name__ == "__main__":
    sys.exit(main())
