"""The list of licences and the bill of materials: those of the locks, and nothing that is not allowed."""

import dataclasses
import json

import pytest

from supplychain import licences, sbom
from supplychain.__main__ import check
from supplychain.licences import complaints, permitted, renewed, said
from supplychain.locks import Package, npm_packages, pinned, shipped

ALLOWED = frozenset({"MIT", "Apache-2.0", "BSD-3-Clause"})
PACKAGES = shipped()
TEXT = licences.LIST.read_text()
RULES = licences.rules()


def test_what_is_kept_is_that_of_the_locks() -> None:
    assert check() == []


def test_a_package_that_is_not_listed_is_named() -> None:
    new = Package("pypi", "left-pad", "1.0.0", "hub")
    assert complaints([*PACKAGES, new], TEXT, RULES) == [
        "pkg:pypi/left-pad@1.0.0 is locked and not in licences.md: python3 dev.py audit renew"
    ]
    with pytest.raises(ValueError, match=r"pkg:pypi/left-pad@1\.0\.0 does not say its licence"):
        renewed([new], TEXT, RULES)


def test_a_package_that_is_locked_no_more_or_anew_is_named() -> None:
    gone, *rest = [one for one in PACKAGES if licences.ships(one)]
    newer = dataclasses.replace(gone, version="99.0")
    assert [f"{gone.purl} is in licences.md and not locked" in one for one in complaints(rest, TEXT, RULES)] == [True]
    assert [one.split(" is ")[0] for one in complaints([newer, *rest], TEXT, RULES)] == [newer.purl, gone.purl]


def test_a_licence_that_is_not_allowed_is_named() -> None:
    purl = next(one.purl for one in PACKAGES if one.name == "preact")
    text = TEXT.replace(f"`{purl}` | MIT |", f"`{purl}` | AGPL-3.0-only |")
    assert complaints(PACKAGES, text, RULES) == [
        f"{purl} is under AGPL-3.0-only, which is not on the list of allowed licences",
        f"{purl} is under MIT, not under AGPL-3.0-only: python3 dev.py audit renew",
    ]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-2.0-only AND MIT", False),
        ("(GPL-2.0-only OR MIT) AND Apache-2.0", True),
        ("GPL-2.0-only OR MIT AND Apache-2.0", True),  # AND binds more
        ("MIT AND (GPL-2.0-only OR LGPL-3.0-only)", False),
        ("MIT OR", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT Apache-2.0", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("mit", False),
        ("", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert permitted(expression, ALLOWED) is allowed


def test_packages_say_their_licence_in_many_ways() -> None:
    def of(name: str, version: str) -> str | None:
        return said(Package("pypi", name, version, "hub"), {})

    locked = {one.name: one.version for one in PACKAGES if one.kind == "pypi"}
    assert of("uvicorn", locked["uvicorn"]) == "BSD-3-Clause"  # License-Expression
    assert of("protobuf", locked["protobuf"]) == "BSD-3-Clause"  # License, spelt
    assert of("autogen-core", locked["autogen-core"]) == "MIT"  # License, the whole text
    assert of("mdurl", locked["mdurl"]) == "MIT"  # a classifier
    assert of("prompt-toolkit", locked["prompt-toolkit"]) is None  # a classifier that does not say which
    assert of("uvicorn", "0.0.1") is None  # what is installed is another one
    assert of("no-such-package", "1") is None


def test_locks_tell_who_needs_what() -> None:
    by_name = {one.name: one for one in PACKAGES}
    assert by_name["starlette"].purl in by_name["fastapi"].needs
    assert by_name["fastapi"].direct
    assert not by_name["starlette"].direct
    assert by_name["colorama"].purl in by_name["typer"].needs  # Windows only
    assert by_name["langgraph"].part == "langchain"
    assert by_name["@preact/signals-core"].purl in by_name["@preact/signals"].needs
    assert by_name["vite"].part == "clients' tools"
    assert by_name["preact"].direct
    assert pinned("A-B==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:0\nc[d]==2\n# e==3\n") == {
        "a-b": "1.0",
        "c": "2",
    }


def test_the_nearest_package_is_the_one_that_is_needed() -> None:
    integrity = {"version": "1", "integrity": "sha512-AAAA"}
    lock = {
        "": {"dependencies": {"a": "*"}},
        "node_modules/a": {**integrity, "dependencies": {"b": "*", "c": "*"}, "optionalDependencies": {"d": "*"}},
        "node_modules/a/node_modules/b": {**integrity, "version": "2"},
        "node_modules/b": integrity,
        "node_modules/c": integrity,
        "node_modules/own": {"link": True},
    }
    found = npm_packages(json.dumps({"packages": lock}))
    assert found[0].needs == {"pkg:npm/b@2", "pkg:npm/c@1"}
    assert [(one.name, one.version, one.direct) for one in found] == [
        ("a", "1", True),
        ("b", "2", False),
        ("b", "1", False),
        ("c", "1", False),
    ]


def test_the_bill_names_everything_once_and_refers_to_nothing_else() -> None:
    bill = json.loads(sbom.BILL.read_text())
    references = [one["bom-ref"] for one in bill["components"]]
    assert sorted(references) == sorted({one.purl for one in PACKAGES})
    named = {bill["metadata"]["component"]["bom-ref"], *references}
    assert {one["ref"] for one in bill["dependencies"]} == named
    assert {other for one in bill["dependencies"] for other in one["dependsOn"]} <= named
    reached = needed_from(bill, bill["metadata"]["component"]["bom-ref"])
    assert reached == named - {bill["metadata"]["component"]["bom-ref"]}, "what nobody needs should not be locked"
    assert all(one["licenses"] for one in bill["components"])


def needed_from(bill: dict[str, list[dict[str, list[str]]]], root: str) -> set[str]:
    needs = {str(one["ref"]): one["dependsOn"] for one in bill["dependencies"]}
    reached: set[str] = set()
    open_ = [root]
    while open_:
        new = set(needs[open_.pop()]) - reached
        reached |= new
        open_ += new
    return reached
