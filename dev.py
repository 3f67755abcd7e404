#!/usr/bin/env python3
"""Everything a developer does here, with nothing but Python 3.11 or newer: `python3 dev.py run` and `test` just work.

    run [options of hub serve]   set up, start a hub with embedded services, say what is where; Ctrl-C ends it
    chat [options of hub chat]   talk to the running hub in this terminal
    demo [TEAM [QUESTION]]       ask a team of the running hub, kill the worker that answers, see the answer go on
    test [options of pytest]     set up, run the test suite; without options all of it, and the clients'
    coverage                     set up, run the test suite and measure it: 1 when under 90 % of all branches
    example bot [QUESTION]       set up, run a hub with a team in which a program speaks, ask it, show what it says
    example langgraph [QUESTION] set up, the same with a team made of a LangGraph graph
    example crewai [QUESTION]    the same with a crew of CrewAI's, in an environment of its own (0.8 GB)
    faults [--minutes N --seed S] set up, break a hub in every way under load, say whether it was exact (--help)
    load SCENARIO [options]      set up, put Locust users on a hub and judge all they see (--help)
    fuzz [minutes]               set up, ask the API random things, 5 minutes as each kind of caller
    pictures                     set up, make the pictures of README.md anew, of the page as it is (needs Chromium)
    audit [renew]                set up, ask for advisories on all that is locked; write licences and SBOM anew
    check                        format, lint, types, import contracts, supply chain, schema drift
    setup                        only set up what `run` needs: a virtual environment in .venv, locked dependencies

Variables HUB_* are passed on to the hub.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches

from devtools import places
from devtools.environment import in_venv, setup, setup_apart
from devtools.running import chat, demo, example, run
from devtools.testing import check, coverage, test


def main() -> int:
    """Run one command; its exit code."""
    command, *options = sys.argv[1:] or ["help"]
    if command == "setup":
        return setup("app", again=True)
    if command == "example":
        return example(options)
    commands: dict[str, tuple[str, Callable[[], int]]] = {  # with the lock of what each needs
        "run": ("app", lambda: run(options)),
        "chat": ("app", lambda: chat(options)),
        "demo": ("app", lambda: demo(options)),
        "test": ("dev", lambda: test(options)),
        "coverage": ("dev", coverage),
        "faults": ("dev", lambda: faults(options)),
        "load": ("dev", lambda: load(options)),
        "fuzz": ("dev", lambda: fuzz(*options)),
        "pictures": ("dev", lambda: in_venv("-m", "tests.web.pictures")),
        "audit": ("dev", lambda: audit(options)),
        "check": ("dev", check),
    }
    if command in commands:
        lock, act = commands[command]
        return setup(lock) or act()
    if command in ("help", "--help", "-h"):
        print(__doc__)
        return 0
    near = get_close_matches(command, [*commands, "setup", "example"], 1)
    asked = f"did you mean {near[0]!r}?" if near else "`python3 dev.py help` lists all"
    print(f"dev.py: there is no command {command!r}: {asked}", file=sys.stderr)
    return 2


def faults(options: list[str]) -> int:
    """The fault rig; 1 when the hub was not exact."""
    return in_venv("-m", "tests.faults", *options)


def load(options: list[str]) -> int:
    """A load scenario; 1 when anything was wrong."""
    return in_venv("-m", "loadtests.run", *options)


def fuzz(minutes: str = "5") -> int:
    """Schemathesis, for so long with each kind of caller; 1 when an answer was not documented."""
    return in_venv("-m", "pytest", "-q", "-s", "tests/api/fuzz_contract.py", f"--fuzz-minutes={minutes}")


def audit(options: list[str]) -> int:
    """Ask for advisories, with tools in an environment of their own; 1 when there is one, or nothing was checked."""
    if options == ["renew"]:
        return in_venv("-m", "supplychain", "renew")
    if code := setup_apart("audit", places.AUDIT, "0.1 GB"):
        return code
    return in_venv("-m", "supplychain", "audit", "--tools", str(places.AUDIT / "bin"), *options)


if __name__ == "__main__":
    sys.exit(main())
