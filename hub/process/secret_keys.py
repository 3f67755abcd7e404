"""The keys that sign access tokens, for a hub that brings its own services: made once, kept in the data directory."""

import os
import secrets
from pathlib import Path

from hub.embedded.process import EmbeddedError

FILE_NAME = "secret_keys"


def kept_secret_keys(data_dir: Path) -> str:
    """`kid:secret` from the data directory, made at the first call. Raises EmbeddedError when it cannot be kept.

    The caller holds the directory's lock.
    """
    path = data_dir / FILE_NAME
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    except OSError as e:
        raise EmbeddedError(f"{path} cannot be read ({e.strerror}).") from e
    keys = f"{secrets.token_hex(4)}:{secrets.token_urlsafe(48)}"
    unfinished = path.with_suffix(".new")
    try:
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(keys + "\n")
        unfinished.rename(path)
    except OSError as e:
        raise EmbeddedError(f"{path} cannot be written ({e.strerror}).") from e
    return keys
