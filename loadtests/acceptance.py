"""The acceptance bench: many sessions, many watchers, many idle connections, on a hub that runs already.

    python -m loadtests.acceptance --url http://127.0.0.1:8000

Start it on a fresh hub: memory that an earlier load left free would hide what idle connections cost. Every watcher
judges all it sees. Times compare clocks, so the hub must be on this machine; what the load generator
itself adds is in `generator_late_ms`. Ends with 1 when a promise does not hold.
"""

import argparse
import json
import sys
from pathlib import Path

import uvloop

from loadtests import cases
from loadtests.account import Account
from loadtests.cases import Outcome


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.acceptance", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the hub")
    parser.add_argument("--name", help="who to be; else a user is registered")
    parser.add_argument("--password", help="of that user")
    parser.add_argument("--cases", default="idle,sessions,watchers", help="which, with commas (all)")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20, help="tokens a second (20)")
    parser.add_argument("--seconds", type=float, default=30, help="of streaming (30)")
    parser.add_argument("--ramp", type=float, default=10, help="seconds within which the sessions begin (10)")
    parser.add_argument("--idle", type=int, default=2000, help="idle connections (2000)")
    parser.add_argument("--idle-seconds", type=float, default=600, help="for how long (600)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


async def run(asked: argparse.Namespace) -> list[Outcome]:
    """The cases that were asked for, one after the other."""
    account = Account(asked.url, asked.name, asked.password)
    load = {"rate": asked.rate, "seconds": asked.seconds}
    outcomes = []
    for name in asked.cases.split(","):
        match name.strip():
            case "sessions":
                case = cases.many_sessions(asked.url, account, count=asked.sessions, ramp=asked.ramp, **load)
            case "watchers":
                case = cases.many_watchers(asked.url, account, count=asked.watchers, **load)
            case "idle":
                case = cases.idle_connections(asked.url, [account], count=asked.idle, seconds=asked.idle_seconds)
            case unknown:
                raise SystemExit(f"there is no case {unknown!r}; there are sessions, watchers and idle")
        outcome = await cases.whole(case, name)
        show(outcome)
        outcomes.append(outcome)
    return outcomes


def show(outcome: Outcome) -> None:
    """One case as a table."""
    print(f"\n{outcome.case}")
    for name, value in outcome.numbers.items():
        text = "  ".join(f"{k} {v}" for k, v in value.items()) or "none" if isinstance(value, dict) else str(value)
        print(f"  {name.replace('_', ' '):<28} {text}")
    print("  " + ("all promises hold" if not outcome.broken else "BROKEN: " + "; ".join(outcome.broken)), flush=True)


def main() -> int:
    """Run the bench."""
    asked = arguments()
    cases.allow_many_files()
    outcomes = uvloop.run(run(asked))
    if asked.json is not None:
        report = [{"case": o.case, "holds": not o.broken, "broken": o.broken, **o.numbers} for o in outcomes]
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
