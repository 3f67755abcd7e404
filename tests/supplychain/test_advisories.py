"""The gate: red when nothing was checked, red for advisories, green only when all that is locked was looked at.

The reports were recorded from pip-audit 2.10.1 and npm: from registries that answer no such question, and from
stand-ins on the loopback that know one advisory.
"""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from supplychain.advisories import Ignored, ignored, judge_npm, judge_python
from supplychain.locks import REQUIREMENTS, pinned

RECORDED = Path(__file__).parent / "recorded"
LOCKED = {"ecdsa": "0.19.2", "orjson": "3.13.0"}
NPM_LOCKED = 80
TODAY = date(2026, 11, 27)
ECDSA = "CVE-2024-23342 GHSA-wj6h-64fc-37mp: ecdsa 0.19.2, not fixed"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.json").read_text()


def excuse(advisory: str, package: str, until: date = TODAY) -> Ignored:
    return Ignored(advisory=advisory, package=package, until=until, reason="never used: see the test beside it")


def python(report: str, *excuses: Ignored, locked: dict[str, str] | None = None) -> tuple[int, list[str]]:
    verdict = judge_python(report, LOCKED if locked is None else locked, excuses, TODAY, what="dev.txt")
    return verdict.checked, verdict.wrong


def npm(report: str, *excuses: Ignored, locked: int = NPM_LOCKED) -> tuple[int, list[str]]:
    verdict = judge_npm(report, locked, excuses, TODAY)
    return verdict.checked, verdict.wrong


def test_what_was_skipped_was_not_checked() -> None:
    checked, wrong = python(recorded("pip-audit-skipped"))  # with which pip-audit ended with 0
    assert checked == 0
    assert wrong == [
        "dev.txt: nothing was checked of 2 packages:"
        " Dependency not found on PyPI and could not be audited: ecdsa (0.19.2)"
    ]


@pytest.mark.parametrize("report", ["", "Traceback", "[]", "{}", '{"dependencies": [{}]}'])
def test_without_a_report_nothing_was_checked(report: str) -> None:
    assert python(report) == (0, ["dev.txt: nothing was checked: pip-audit gave no report"])


def test_a_report_about_nothing_checks_nothing() -> None:
    empty = '{"dependencies": [], "fixes": []}'
    assert python(empty) == (0, ["dev.txt: nothing was checked of 2 packages: it was given none"])
    bare = '{"dependencies": [{"name": "ecdsa", "version": "0.19.2"}, {"name": "orjson", "version": "3.13.0"}]}'
    assert python(bare)[0] == 0  # named, and nothing said about them
    assert python(empty, locked={}) == (0, ["dev.txt: nothing was checked of 0 packages: it was given none"])


def test_a_part_is_not_all() -> None:
    ignore = excuse("CVE-2024-23342", "pkg:pypi/ecdsa")
    other = {"ecdsa": "0.19.2", "orjson": "3.13.1", "rsa": "4.9.1"}  # one in another version, one not at all
    checked, wrong = python(recorded("pip-audit"), ignore, locked=other)
    assert checked == 1
    assert wrong == ["dev.txt: 2 of 3 packages were not checked: orjson 3.13.1, rsa 4.9.1"]


def test_an_advisory_counts_until_it_is_ignored_and_again_after_its_day() -> None:
    report = recorded("pip-audit")
    assert python(report) == (2, [ECDSA])
    for name in ("CVE-2024-23342", "GHSA-wj6h-64fc-37mp"):
        assert python(report, excuse(name, "pkg:pypi/ecdsa")) == (2, [])
    assert python(report, excuse("CVE-2024-23342", "pkg:pypi/orjson"))[1] == [ECDSA]
    assert python(report, excuse("CVE-2024-0000", "pkg:pypi/ecdsa"))[1] == [ECDSA]
    _, wrong = python(report, excuse("CVE-2024-23342", "pkg:pypi/ecdsa", date(2026, 11, 26)))
    assert wrong == [f"{ECDSA} (ignored until 2026-11-26, which is over: never used: see the test beside it)"]


def test_what_is_ignored_is_told() -> None:
    verdict = judge_python(
        recorded("pip-audit"), LOCKED, [excuse("CVE-2024-23342", "pkg:pypi/ecdsa")], TODAY, what="dev.txt"
    )
    assert verdict.notes == [f"{ECDSA} (ignored until 2026-11-27: never used: see the test beside it)"]


def test_npm_without_its_registry_has_checked_nothing() -> None:
    checked, wrong = npm(recorded("npm-audit-refused"))
    assert checked == 0
    assert "nothing was checked" in wrong[0]
    assert "405 Method Not Allowed" in wrong[0]
    assert npm("")[1] == ["clients: nothing was checked: npm audit gave no report (is the registry reachable?)"]


def test_npm_has_to_have_looked_at_all_of_the_lock() -> None:
    report = recorded("npm-audit")
    assert npm(report) == (80, [])
    assert npm(report, locked=90) == (84, ["clients: npm audit has looked at 84 of 90 packages"])
    assert npm(report, locked=0) == (0, ["clients: npm audit has looked at 0 of 0 packages"])


def test_an_advisory_of_npm_counts_until_it_is_ignored() -> None:
    report = recorded("npm-audit-found")
    found = "GHSA-rrrm-qjm4-v8hf: marked >=1.0.0, Inefficient Regular Expression Complexity in marked"
    assert npm(report) == (80, [found])
    assert npm(report, excuse("GHSA-rrrm-qjm4-v8hf", "pkg:npm/marked")) == (80, [])
    assert npm(report, excuse("GHSA-rrrm-qjm4-v8hf", "pkg:pypi/marked")) == (80, [found])


def test_who_ignores_gives_a_reason_and_a_day() -> None:
    locked = {name for lock in REQUIREMENTS.glob("*.txt") for name in pinned(lock.read_text())}
    for entry in ignored():
        assert entry.package.removeprefix("pkg:pypi/") in locked, "what is not locked need not be ignored"
    for lacking in ({"until": "2027-01-01"}, {"reason": "because it was in the way"}):
        with pytest.raises(ValidationError):
            Ignored.model_validate({"advisory": "GHSA-1", "package": "pkg:pypi/ecdsa", **lacking})
