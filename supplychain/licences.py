"""Licences of what ships: read from the packages themselves, kept as a list, held against what is allowed."""

import importlib.metadata
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supplychain.locks import ROOT, Package

LIST = ROOT / "docs" / "licences.md"
RULES = Path(__file__).with_name("licences.toml")

_SPELT = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "isc license": "ISC",
    "license :: osi approved :: apache software license": "Apache-2.0",
    "license :: osi approved :: mit license": "MIT",
    "mit license": "MIT",
}
_ROW = re.compile(r"^\| `(?P<purl>pkg:[^`]+)` \| (?P<licence>[^|]+) \|", re.MULTILINE)
_HEAD = """\
# Licences of what ships

Made by `python3 dev.py audit renew` from the locks and from what the packages say of themselves; what is allowed, and
what was read by hand, stands in `supplychain/licences.toml`. `python3 dev.py check` fails when a package is locked
that is not here. The hub itself is under Apache-2.0. The notices of what is inside of packages lie in the packages,
those of the chat page in `hub/static/web/licenses.md`, those of the page of the API in `hub/static/swagger`.

| package | licence | comes with |
|---|---|---|
"""


@dataclass(frozen=True)
class Rules:
    """What is allowed, and what was read by hand, by name."""

    allowed: frozenset[str]
    read: Mapping[str, str]


def rules() -> Rules:
    """As they stand in `licences.toml`."""
    given = tomllib.loads(RULES.read_text())
    return Rules(frozenset(given["allowed"]), given["read"])


def ships(package: Package) -> bool:
    """Whether people get it from us or with us; tools only make what they get."""
    return package.part != "clients' tools"


def said(package: Package, read: Mapping[str, str]) -> str | None:
    """The licence of a package as an SPDX expression; None when it is not installed here, or says nothing clear."""
    if package.name in read:
        return read[package.name]
    if package.kind == "npm":
        return package.licence
    try:
        metadata = importlib.metadata.metadata(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if metadata["Version"] != package.version:
        return None
    for expression in metadata.get_all("License-Expression") or ():
        return str(expression)
    for text in metadata.get_all("License") or ():
        if beginning := text.strip().split("\n")[0].strip():
            return _SPELT.get(beginning.lower(), str(beginning))
    classifiers = [one for one in metadata.get_all("Classifier") or () if one.startswith("License :: OSI")]
    return _SPELT.get(classifiers[0].lower()) if len(classifiers) == 1 else None


def permitted(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone. What cannot be read is not permitted."""
    words = re.findall(r"[()]|[^\s()]+", expression)
    try:
        answer = _any(words, allowed)
    except IndexError:
        return False
    return answer and not words


def _any(words: list[str], allowed: frozenset[str]) -> bool:
    answer = _all(words, allowed)
    while words and words[0] == "OR":
        words.pop(0)
        answer = _all(words, allowed) or answer
    return answer


def _all(words: list[str], allowed: frozenset[str]) -> bool:
    answer = _one(words, allowed)
    while words and words[0] == "AND":
        words.pop(0)
        answer = _one(words, allowed) and answer
    return answer


def _one(words: list[str], allowed: frozenset[str]) -> bool:
    word = words.pop(0)
    if word != "(":
        return word in allowed
    answer = _any(words, allowed)
    return words.pop(0) == ")" and answer


def listed(text: str) -> dict[str, str]:
    """The list as it stands in the document: licences by purl."""
    return {row["purl"]: row["licence"].strip() for row in _ROW.finditer(text)}


def written(packages: Sequence[Package], licences: Mapping[str, str]) -> str:
    """The document."""
    rows = [f"| `{one.purl}` | {licences[one.purl]} | {one.part} |" for one in packages if ships(one)]
    return _HEAD + "\n".join(rows) + "\n"


def complaints(packages: Sequence[Package], text: str, given: Rules) -> list[str]:
    """What is wrong with the list, a sentence each; nothing when it is complete and all of it is allowed."""
    there, wrong = listed(text), []
    for package in filter(ships, packages):
        licence = there.pop(package.purl, None)
        if licence is None:
            wrong.append(f"{package.purl} is locked and not in {LIST.name}: python3 dev.py audit renew")
            continue
        if not permitted(licence, given.allowed):
            wrong.append(f"{package.purl} is under {licence}, which is not on the list of allowed licences")
        if (now := said(package, given.read)) not in (None, licence):
            wrong.append(f"{package.purl} is under {now}, not under {licence}: python3 dev.py audit renew")
    wrong += [f"{purl} is in {LIST.name} and not locked: python3 dev.py audit renew" for purl in there]
    return wrong


def renewed(packages: Sequence[Package], text: str, given: Rules) -> dict[str, str]:
    """The licence of each package that ships, by purl; of what is not installed here, as the list has it. Raises
    `ValueError` when one is not to be found."""
    there, found = listed(text), {}
    for package in filter(ships, packages):
        licence = said(package, given.read) or there.get(package.purl)
        if licence is None:
            raise ValueError(f"{package.purl} does not say its licence: read it, and write it into {RULES.name}")
        found[package.purl] = licence
    return found
