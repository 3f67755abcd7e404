"""One hub per data directory: a lock that the kernel gives back however its holder ends."""

import fcntl
import json
import os
from pathlib import Path
from typing import Self

from hub.embedded.process import EmbeddedError

LOCK_NAME = "hub.lock"


class DataDirInUse(EmbeddedError):
    """Another process holds the lock."""


class DataDirLock:
    """Holds `data_dir`, made if need be, until `release` or the end of this process."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock at once. Raises DataDirInUse, which names the holder, or EmbeddedError."""
        self._path = data_dir / LOCK_NAME
        try:
            data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)  # the database's user passes through
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise EmbeddedError(f"{data_dir} cannot be used ({e.strerror}): set HUB_DATA_DIR to another folder.") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            holder = read_note(data_dir).get("pid", "?")
            raise DataDirInUse(
                f"Another hub (pid {holder}) uses {data_dir}: stop it, or give this one its own with --data-dir."
            ) from None
        self.note(pid=str(os.getpid()))

    def note(self, **facts: str) -> None:
        """Write down what other commands may want to know of the running hub, such as its database's address."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(facts).encode(), 0)

    def release(self) -> None:
        """Give the directory back. A forked child calls it too, lest it keep the lock when its parent is gone."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def read_note(data_dir: Path) -> dict[str, str]:
    """What the holder of the lock wrote; empty when there is nothing to read."""
    try:
        note = json.loads((data_dir / LOCK_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
