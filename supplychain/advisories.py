"""The gate for advisories: judges what pip-audit and `npm audit` report.

pip-audit skips what its service does not know, and when that is everything it still says that all is well. Here it is
the other way round: whatever is locked has to be in the report as checked, else the gate fails, as it does for every
advisory that is not knowingly ignored for a time.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

IGNORED = Path(__file__).with_name("ignored.toml")


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class Ignored(BaseModel):
    """An advisory that does not count against a package (a purl without its version) up to and with a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    advisory: str
    package: str
    until: date
    reason: Annotated[str, Field(min_length=20)]


@dataclass
class Verdict:
    """`wrong` fails the gate; `notes` are for reading. A sentence each."""

    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ignored() -> list[Ignored]:
    """The list of `ignored.toml`. Raises `ValidationError` for an entry without a reason or a day."""
    return [Ignored.model_validate(entry) for entry in tomllib.loads(IGNORED.read_text())["ignored"]]


# ---- pip-audit


class _Vulnerability(_Report):
    id: str
    aliases: list[str] = []
    fix_versions: list[str] = []


class _Dependency(_Report):
    name: str
    version: str | None = None
    vulns: list[_Vulnerability] | None = None
    skip_reason: str | None = None


class _PipAudit(_Report):
    dependencies: list[_Dependency]


def judge_python(
    report: str, locked: Mapping[str, str], excuses: Sequence[Ignored], today: date, *, what: str
) -> Verdict:
    """`report` is what `pip-audit --format json` wrote, `locked` names and versions of the lock `what`."""
    verdict = Verdict()
    try:
        found = _PipAudit.model_validate_json(report)
    except ValidationError:
        verdict.wrong.append(f"{what}: nothing was checked: pip-audit gave no report")
        return verdict
    checked = {(one.name.lower(), one.version) for one in found.dependencies if one.vulns is not None}
    missing = [f"{name} {version}" for name, version in locked.items() if (name, version) not in checked]
    verdict.checked = len(locked) - len(missing)
    if not verdict.checked:
        reason = next((one.skip_reason for one in found.dependencies if one.skip_reason), "it was given none")
        verdict.wrong.append(f"{what}: nothing was checked of {len(locked)} packages: {reason}")
    elif missing:
        verdict.wrong.append(f"{what}: {len(missing)} of {len(locked)} packages were not checked: {_few(missing)}")
    for one in found.dependencies:
        for advisory in one.vulns or ():
            names = {advisory.id, *advisory.aliases}
            cure = f"fixed in {', '.join(advisory.fix_versions)}" if advisory.fix_versions else "not fixed"
            _count(verdict, f"pkg:pypi/{one.name.lower()}", names, f"{one.name} {one.version}, {cure}", excuses, today)
    return verdict


# ---- npm audit


class _Counts(_Report):
    total: int


class _Metadata(_Report):
    dependencies: _Counts


class _Advisory(_Report):
    url: str
    title: str
    range: str


class _Affected(_Report):
    name: str
    via: list[_Advisory | str]  # text: affected through another one, which has its own entry


class _NpmAudit(_Report):
    vulnerabilities: dict[str, _Affected]
    metadata: _Metadata


def judge_npm(report: str, locked: int, excuses: Sequence[Ignored], today: date) -> Verdict:
    """`report` is what `npm audit --json` wrote, `locked` how many packages the lock has."""
    verdict = Verdict()
    try:
        found = _NpmAudit.model_validate_json(report)
    except ValidationError:
        verdict.wrong.append(f"clients: nothing was checked: npm audit gave no report ({_message(report)})")
        return verdict
    verdict.checked = min(found.metadata.dependencies.total, locked)
    if verdict.checked < max(locked, 1):
        verdict.wrong.append(f"clients: npm audit has looked at {verdict.checked} of {locked} packages")
    for affected in found.vulnerabilities.values():
        for advisory in affected.via:
            if isinstance(advisory, _Advisory):
                names = {advisory.url.rpartition("/")[2]}
                about = f"{affected.name} {advisory.range}, {advisory.title}"
                _count(verdict, f"pkg:npm/{affected.name}", names, about, excuses, today)
    return verdict


def _message(report: str) -> str:
    class Failure(_Report):
        message: str

    try:
        return Failure.model_validate_json(report).message
    except ValidationError:
        return "is the registry reachable?"


# ---- both


def _count(
    verdict: Verdict, package: str, names: set[str], about: str, excuses: Sequence[Ignored], today: date
) -> None:
    label = f"{' '.join(sorted(names))}: {about}"
    excuse = next((one for one in excuses if one.package == package and one.advisory in names), None)
    if excuse is None:
        verdict.wrong.append(label)
    elif today > excuse.until:
        verdict.wrong.append(f"{label} (ignored until {excuse.until}, which is over: {excuse.reason})")
    else:
        verdict.notes.append(f"{label} (ignored until {excuse.until}: {excuse.reason})")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
