"""Connections that do nothing: what each costs a hub that runs already, and whether they stay.

    python -m loadtests.idle --url http://127.0.0.1:8000 --connections 2000 --minutes 10

Start it on a fresh hub: memory that an earlier load left free would hide what connections cost. With `--follow` each
connection follows a session of its own, in which nothing happens. A user has an allowance of commands a minute, pings
too, so the connections are those of several. Ends with 1 when a promise does not hold.
"""

import argparse
import sys

import uvloop

from loadtests import cases
from loadtests.acceptance import show
from loadtests.account import Account


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.idle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--accounts", type=int, default=10, help="whose connections they are (10)")
    parser.add_argument("--follow", action="store_true", help="each connection follows a session of its own")
    asked = parser.parse_args()
    cases.allow_many_files()
    accounts = [Account(asked.url) for _ in range(asked.accounts)]
    case = cases.idle_connections(
        asked.url, accounts, count=asked.connections, seconds=asked.minutes * 60, follow=asked.follow
    )
    outcome = uvloop.run(cases.whole(case, "idle"))
    show(outcome)
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
