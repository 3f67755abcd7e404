"""`python3 dev.py faults`: breaks a hub of its own in every way it knows, and says whether it was exact.

Without `--only`: a random mix of all faults, the same for the same seed. With it: what must hold, or one kind of fault.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from tests.faults.checker import check
from tests.faults.history import records_of
from tests.faults.injections import NEMESIS
from tests.faults.nemesis import Verdict, nemesis
from tests.faults.scenarios import SCENARIOS


def main() -> int:
    """Exit code 1 when anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="dev.py faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_names()
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults go on (5)")
    parser.add_argument("--seed", type=int, default=1, help="decides when what breaks (1)")
    parser.add_argument("--only", metavar="NAME", choices=[*SCENARIOS, *NEMESIS, "must-hold"], help="see below")
    parser.add_argument("--keep", type=Path, help="a folder for the history and the logs")
    parser.add_argument("--check", type=Path, help="only judge a history that was kept")
    options = parser.parse_args()
    verdicts = _run(options)
    return 0 if all(verdict.ok for verdict in verdicts) else 1


def _run(options: argparse.Namespace) -> list[Verdict]:
    if options.check is not None:
        return [_shown(Verdict(str(options.check), 0, check(records_of(options.check))))]
    # Ended from outside it leaves nothing behind either, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    names = list(SCENARIOS) if options.only == "must-hold" else [options.only]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [
            _shown(
                runner.run(
                    SCENARIOS[name](options.seed, options.keep)
                    if name in SCENARIOS
                    else nemesis(options.seed, options.minutes, options.keep, name)
                )
            )
            for name in names
        ]


def _shown(verdict: Verdict) -> Verdict:
    print(verdict.text(), flush=True)
    return verdict


def _names() -> str:
    lines = ["what must hold (all of it: must-hold):"]
    lines += [f"  {name:<24} {(s.__doc__ or '').strip()}" for name, s in SCENARIOS.items()]
    lines.append("kinds of faults:")
    lines += [f"  {name:<24} {(f.__doc__ or '').strip()}" for name, f in NEMESIS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
