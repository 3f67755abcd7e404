"""Folders that are gone when a measurement is over."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder while the context lasts, which everybody may enter: PostgreSQL does not run as root, and what a hub of
    root keeps would be put elsewhere, and stay there."""
    with tempfile.TemporaryDirectory(prefix="agent-hub-load-") as name:
        here = Path(name)
        here.chmod(0o755)
        yield here
