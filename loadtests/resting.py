"""What a hub costs that nobody uses: processor time and memory, of a hub of its own.

    python -m loadtests.resting --workers 2 --seconds 30

Memory is PSS: what processes share is divided among them. PostgreSQL and Valkey are listed for themselves. Ends with 1
when the supervisor and the workers together take more than 1 % of a core or, with two workers, more than 250 MB.
"""

import argparse
import asyncio
import sys

from loadtests import cases, temporary
from loadtests.account import Account
from loadtests.measure import cpu_by_role, memory_by_role, worker_pid
from loadtests.run import own_hub

MOST_PERCENT = 1.0
MOST_MIB = 250 * 1_000_000 / 2**20
SETTLE_S = 15.0  # what a start leaves to be done, and the connections of this bench
SERVICES = ("postgres", "valkey-server")


async def workers_of(url: str, count: int) -> set[int]:
    """The processes of all workers. Raises `RuntimeError` when some take no connection."""
    account = Account(url)
    found = set[int]()
    for _ in range(20):
        async with cases.watching(url, account, 8) as watchers:
            found |= {pid for w in watchers if (pid := worker_pid(w.hello["node"])) is not None}
        if len(found) >= count:
            return found
    raise RuntimeError(f"{len(found)} of {count} workers were found")


async def measure(url: str, asked: argparse.Namespace) -> bool:
    """Whether it rests."""
    workers = await workers_of(url, asked.workers)
    await asyncio.sleep(SETTLE_S)
    before = cpu_by_role(workers)
    await asyncio.sleep(asked.seconds)
    spent, held = cpu_by_role(workers), memory_by_role(workers)
    percent = {role: (spent[role] - before.get(role, 0.0)) / asked.seconds * 100 for role in held}
    for role in held:
        print(f"  {role:<16} {percent[role]:>5.2f} % of a core  {held[role]:>7.1f} MiB")
    own = [role for role in held if role not in SERVICES]
    cpu, memory = sum(percent[role] for role in own), sum(held[role] for role in own)
    for name, seen, most in (("processor, %", cpu, MOST_PERCENT), ("memory, MiB", memory, MOST_MIB)):
        print(f"{'holds' if seen <= most else 'DOES NOT HOLD':<14} {name}: {seen:.2f}, ≤ {most:.0f}")
    return cpu <= MOST_PERCENT and memory <= MOST_MIB


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.resting", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30, help="of the measurement (30)")
    asked = parser.parse_args()
    with (
        temporary.folder() as folder,
        own_hub(asked.workers, folder / "hub.log") as url,
    ):
        return 0 if asyncio.run(measure(url, asked)) else 1


if __name__ == "__main__":
    sys.exit(main())
