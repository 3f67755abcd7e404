"""What is committed as built or generated is what the sources give."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
CLIENTS = REPO / "clients"
SOURCES = ["package-lock.json", "typescript/src", "web/index.html", "web/public", "web/src", "web/vite.config.ts"]


def test_the_bundle_was_built_from_these_sources() -> None:
    files = [f for s in SOURCES for f in ([CLIENTS / s] if (CLIENTS / s).is_file() else (CLIENTS / s).rglob("*"))]
    digest = hashlib.sha256()
    for name in sorted(str(file.relative_to(CLIENTS)) for file in files if file.is_file()):
        digest.update(name.encode() + b"\0" + (CLIENTS / name).read_bytes() + b"\0")
    page = (REPO / "hub/static/web/index.html").read_text()
    built = re.search(r'name="source-digest" content="([0-9a-f]{64})"', page)
    assert built is not None
    assert built[1] == digest.hexdigest(), "the page is stale: `npm ci && npm run build` in clients/"


def test_the_bundle_is_complete_and_asks_no_other_host() -> None:
    folder = REPO / "hub/static/web"
    page = (folder / "index.html").read_text()
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert assets
    assert all((folder / asset.lstrip("/")).is_file() for asset in assets)
    assert not re.search(r'(?:src|href)="https?:', page)


def test_the_types_are_those_of_the_protocol() -> None:
    made = subprocess.run(
        [sys.executable, CLIENTS / "typescript/generate_protocol.py", "--check"],
        cwd=REPO,
        env={"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def test_the_lock_file_names_no_registry() -> None:
    assert "http" not in re.sub(r'"url": "[^"]*"', "", (CLIENTS / "package-lock.json").read_text())
