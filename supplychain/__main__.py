"""`python -m supplychain check | renew | audit`; 0 when all is well, 1 with a sentence for each thing that is not."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from supplychain import advisories, licences, sbom
from supplychain.locks import NPM_LOCK, REQUIREMENTS, npm_packages, pinned, shipped

DEADLINE_S = 600
OSV = "https://api.osv.dev/v1/query"
_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "valid")
"""


def main() -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m supplychain")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="whether licences and bill of materials are those of the locks; no network")
    commands.add_parser("renew", help="write both anew")
    audit = commands.add_parser("audit", help="ask for advisories about everything that is locked")
    audit.add_argument("--tools", type=Path, required=True, help="folder with the programs of requirements/audit.txt")
    audit.add_argument(
        "--osv", nargs="?", const=OSV, help=f"ask an OSV service about Python packages ({OSV}), not PyPI"
    )
    options = parser.parse_args()
    if options.command == "renew":
        renew()
    wrong = check()
    if options.command == "audit":
        wrong += ask(options.tools, options.osv)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


def check() -> list[str]:
    """What does not fit the locks."""
    packages, text = shipped(), licences.LIST.read_text()
    wrong = licences.complaints(packages, text, licences.rules())
    if not wrong and licences.written(packages, licences.listed(text)) != text:
        wrong.append(f"{licences.LIST.name} is not as it was made: python3 dev.py audit renew")
    if not wrong and sbom.written(packages, licences.listed(text)) != sbom.BILL.read_text():
        wrong.append(f"{sbom.BILL.name} is not that of the locks: python3 dev.py audit renew")
    return wrong


def renew() -> None:
    """Write the list of licences and the bill of materials."""
    packages, before = shipped(), licences.LIST.read_text() if licences.LIST.exists() else ""
    found = licences.renewed(packages, before, licences.rules())
    licences.LIST.write_text(licences.written(packages, found))
    sbom.BILL.write_text(sbom.written(packages, found))


def ask(tools: Path, osv: str | None) -> list[str]:
    """What is wrong with what is locked, or with how it was looked at."""
    excuses, today = advisories.ignored(), datetime.now(UTC).date()
    verdicts = []
    for lock in sorted(REQUIREMENTS.glob("*.txt")):
        locked = pinned(lock.read_text())
        report = pip_audit(tools, osv, locked)
        verdicts.append(advisories.judge_python(report, locked, excuses, today, what=f"requirements/{lock.name}"))
        print(f"requirements/{lock.name}: {verdicts[-1].checked} of {len(locked)} packages checked", flush=True)
    count = len(npm_packages(NPM_LOCK.read_text()))
    verdicts.append(advisories.judge_npm(npm_audit(), count, excuses, today))
    print(f"clients: {verdicts[-1].checked} of {count} packages checked")
    for note in (note for verdict in verdicts for note in verdict.notes):
        print(note)
    valid = run([str(tools / "python"), "-c", _VALIDATE], given=sbom.BILL.read_text())
    wrong = [sentence for verdict in verdicts for sentence in verdict.wrong]
    return wrong if valid == "valid\n" else [*wrong, f"{sbom.BILL.name} is not valid: {valid}"]


def pip_audit(tools: Path, osv: str | None, locked: dict[str, str]) -> str:
    """The report about these packages. They are named anew, for pip-audit leaves out those of other platforms."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "requirements.txt"
        names.write_text("".join(f"{name}=={version}\n" for name, version in locked.items()))
        options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
        options += ["--vulnerability-service", "osv", "--osv-url", osv] if osv is not None else []
        return run([str(tools / "pip-audit"), *options, "-r", str(names)])


def npm_audit() -> str:
    """The report about the clients' lock."""
    if (npm := shutil.which("npm")) is None:
        return json.dumps({"message": "npm is not installed"})
    return run([npm, "audit", "--json", "--package-lock-only"], folder=NPM_LOCK.parent)


def run(command: list[str], *, folder: Path | None = None, given: str = "") -> str:
    """What a program wrote, however it ended; nothing when it did not end in time. Its errors are shown only then: what
    pip-audit says there ("No known vulnerabilities found") holds for what it has looked at, if anything."""
    try:
        done = subprocess.run(command, cwd=folder, input=given, text=True, capture_output=True, timeout=DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as e:
        print(f"{Path(command[0]).name}: {e}", file=sys.stderr)
        return ""
    if not done.stdout:
        print(f"{Path(command[0]).name}: {done.stderr.strip().rpartition(chr(10))[2]}", file=sys.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
