"""Where servers may live: folders that the user they run as can reach, sockets with paths that fit."""

import hashlib
import os
import pwd
import stat
import tempfile
from pathlib import Path

from hub.embedded.process import EmbeddedError, Identity

SOCKET_PATH_BYTES = 100  # sun_path holds 104 (macOS) to 108 (Linux) bytes
SYSTEM_HOME = Path("/var/lib/agent-hub")


def unprivileged() -> Identity:
    """`nobody` for root, which PostgreSQL refuses to run as; otherwise the present user."""
    if os.geteuid() != 0:
        return Identity()
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "PostgreSQL refuses to run as root and there is no user `nobody`: run the hub as another user, "
            "or set HUB_DATABASE_URL."
        ) from None
    return Identity(user.pw_uid, user.pw_gid)


def private_home(home: Path, identity: Identity) -> Path:
    """Make `home` a folder for `identity` alone and return where it really is.

    Below a folder that only root may enter (say `/root`), another user's server cannot live: then `home` becomes
    a link to a folder below `/var/lib/agent-hub`. Raises EmbeddedError when neither can be made.
    """
    home = home.absolute()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        if not home.exists() and not home.is_symlink() and identity.uid is not None and not open_to_all(home.parent):
            digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
            elsewhere = SYSTEM_HOME / f"{home.name}-{digest}"
            SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
            SYSTEM_HOME.chmod(0o755)  # whatever the umask is
            elsewhere.mkdir(mode=0o700, exist_ok=True)
            home.symlink_to(elsewhere)
        home = home.resolve()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if identity.uid is not None and identity.gid is not None:
            os.chown(home, identity.uid, identity.gid)
    except OSError as e:
        raise EmbeddedError(f"{home} cannot be made ({e.strerror}): set HUB_DATA_DIR to a folder of yours.") from e
    return home


def socket_dir(home: Path, socket_name: str, identity: Identity) -> Path:
    """The folder for a server's socket: `home`, or, when that path is too long, a private one for temporary files."""
    if len(os.fsencode(home / socket_name)) <= SOCKET_PATH_BYTES:
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"agent-hub-{os.geteuid()}-{digest}"
    if len(os.fsencode(short / socket_name)) > SOCKET_PATH_BYTES:
        raise EmbeddedError(f"The paths of {home} and of the temporary folder are too long: set TMPDIR to a short one.")
    short.mkdir(mode=0o700, exist_ok=True)
    owner = short.lstat()
    mine = {os.geteuid(), identity.uid}
    # Whoever owns the folder could put a server of their own into it: anybody may create names in /tmp.
    if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in mine or stat.S_IMODE(owner.st_mode) & 0o077:
        raise EmbeddedError(f"{short} belongs to somebody else: remove it, or set HUB_DATA_DIR to a shorter path.")
    if identity.uid is not None and identity.gid is not None:
        os.chown(short, identity.uid, identity.gid)
    return short


def open_to_all(folder: Path) -> bool:
    """Whether every user may enter `folder`, that is, every folder on the way to it."""
    folder = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.parents))
