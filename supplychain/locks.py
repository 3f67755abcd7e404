"""What is locked and ships: the packages of the requirements files and of the npm lock, and what needs what."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
NPM_LOCK = ROOT / "clients" / "package-lock.json"
SWAGGER = ROOT / "hub" / "static" / "swagger" / "swagger-ui-bundle.js"

Part = Literal["hub", "langchain", "local model", "chat page", "API page", "clients' tools"]
# Locks of what people install with the hub, in this order: a package is of the first one that names it.
SHIPPED: Mapping[str, Part] = {"app": "hub", "langchain": "langchain", "model": "local model"}

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)")
_VIA = re.compile(r"^    # {1,3}(?:via )?(\S+)")


@dataclass(frozen=True)
class Package:
    """One version of one package. `needs` are purls; `sha512` is the hash of its only archive (npm), in hex; `licence`
    is what the lock itself says (npm)."""

    kind: Literal["pypi", "npm"]
    name: str
    version: str
    part: Part
    direct: bool = False
    needs: frozenset[str] = frozenset()
    sha512: str | None = None
    licence: str | None = None

    @property
    def purl(self) -> str:
        """Its name in the world: a package URL."""
        return f"pkg:{self.kind}/{quote(self.name)}@{quote(self.version)}"


def shipped() -> list[Package]:
    """Everything that is locked and ships, and the tools that the page is built with; sorted. Raises `ValueError` for
    locks that contradict each other or cannot be read."""
    found: dict[str, Package] = {}
    for package in [*python_packages(), *npm_packages(NPM_LOCK.read_text()), swagger()]:
        found.setdefault(package.purl, package)
    return sorted(found.values(), key=lambda package: (package.kind, package.name, package.version))


def pinned(lock: str) -> dict[str, str]:
    """Names and versions that the text of a requirements file pins, for whatever platform."""
    return {name.lower(): version for name, version, _ in _pins(lock)}


def python_packages() -> list[Package]:
    """Those of the locks that ship; they are one environment, so a package has one version."""
    found: dict[str, Package] = {}
    parents: dict[str, set[str]] = {}
    for lock, part in SHIPPED.items():
        for name, version, needed_by in _pins((REQUIREMENTS / f"{lock}.txt").read_text()):
            known = found.setdefault(name, Package("pypi", name, version, part))
            if known.version != version:
                raise ValueError(f"{name} is locked as {known.version} and as {version}: make the locks anew, together")
            parents.setdefault(name, set()).update(needed_by)
    return [
        replace(
            package,
            direct=bool(parents[name] - found.keys()),
            needs=frozenset(found[other].purl for other, needed_by in parents.items() if name in needed_by),
        )
        for name, package in found.items()
    ]


def _pins(lock: str) -> Iterator[tuple[str, str, set[str]]]:
    """Name, version and who needs it: packages, or a file for what is asked for by ourselves."""
    name, version, needed_by = "", "", set[str]()
    for line in [*lock.splitlines(), ""]:
        if (begin := _PINNED.match(line)) or not line:
            if name:
                yield name, version, needed_by
            name, version, needed_by = (begin[1], begin[2], set()) if begin else ("", "", set())
        elif (via := _VIA.match(line)) and via[1] not in ("via", "-c"):  # `-c`: only bounds it
            needed_by.add(via[1])


def npm_packages(lock: str) -> list[Package]:
    """Those of an npm lock. What the page is made of ships; the rest are tools."""
    packages: dict[str, dict[str, Any]] = json.loads(lock)["packages"]
    own = {path for path in packages if "node_modules/" not in path}
    asked_for = {name for path in own for field in _DEPENDENCIES for name in packages[path].get(field, {})}
    found = []
    for path, entry in packages.items():
        if path in own or entry.get("link"):
            continue
        near = (_near(packages, path, name) for field in _DEPENDENCIES for name in entry.get(field, {}))
        found.append(
            Package(
                "npm",
                _npm_name(path),
                entry["version"],
                "clients' tools" if entry.get("dev") else "chat page",
                direct=_npm_name(path) in asked_for,
                needs=frozenset(
                    Package("npm", _npm_name(other), packages[other]["version"], "chat page").purl
                    for other in near
                    if other
                ),
                sha512=base64.b64decode(entry["integrity"].removeprefix("sha512-")).hex(),
                licence=entry.get("license"),
            )
        )
    return found


_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")


def _npm_name(path: str) -> str:
    return path.rpartition("node_modules/")[2]


def _near(packages: Mapping[str, Any], path: str, name: str) -> str | None:
    """Where Node finds a dependency of what is at `path`; None when it is optional and left out."""
    while True:
        candidate = f"{path}/node_modules/{name}" if path else f"node_modules/{name}"
        if candidate in packages:
            return candidate
        if not path:
            return None
        path = path.rpartition("node_modules/")[0].rstrip("/")


def swagger() -> Package:
    """The page of the API, which is kept in the source tree as it was published."""
    version = re.search(r'PACKAGE_VERSION:"([0-9.]+)"', SWAGGER.read_text())
    if version is None:
        raise ValueError(f"{SWAGGER.name} does not say its version")
    return Package("npm", "swagger-ui-dist", version[1], "API page", direct=True)
