"""One server process of our own: started in a session of its own, dead with us, stopped with a deadline."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
POLL_S = 0.01


class EmbeddedError(Exception):
    """An embedded service cannot run here; the message says what to do, in one sentence."""


@dataclass(frozen=True)
class Identity:
    """Whom a server runs as; None leaves the user as it is."""

    uid: int | None = None
    gid: int | None = None


class ServerProcess:
    """A child that outlives neither `stop` nor, on Linux, this process (not even its kill -9)."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        log: Path,
        stop_signal: signal.Signals,
        identity: Identity | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`; its output is appended to `log`. Raises EmbeddedError when it cannot be executed.

        Call it on the main thread: Linux ties the parent-death signal to the thread that forks.
        """
        self._name = Path(command[0]).name
        self._log = log
        self._stop_signal = stop_signal
        identity = identity or Identity()
        with log.open("ab") as output:
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own binaries
                    [str(part) for part in command],
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in a terminal reaches the whole foreground group; servers must outlive the drain.
                    start_new_session=True,
                    user=identity.uid,
                    group=identity.gid,
                    extra_groups=[] if identity.uid is not None else None,
                    # Popen runs it after setuid, which would clear it.
                    preexec_fn=dies_with_parent(stop_signal),
                )
            except OSError as e:
                raise EmbeddedError(f"{self._name} cannot be started: {e.strerror or e}.") from e

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`. Raises EmbeddedError, with the end of the log, when the server ends or time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.alive:
                raise EmbeddedError(f"{self._name} ended at its start (code {self._child.returncode}): {self._tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"{self._name} was not ready after {timeout_s:.0f} s: {self._tail()}")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float = 10) -> None:
        """Ask it to end; kill it when it has not after `timeout_s`. Fine when it has already ended."""
        if not self.alive:
            return
        self._child.send_signal(self._stop_signal)
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        return " | ".join(lines) or f"it wrote nothing to {self._log}"


def dies_with_parent(sig: signal.Signals) -> Callable[[], None] | None:
    """What a forked child runs so that it gets `sig` when its parent ends; None where only Linux would do it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: afterwards a lock of the loader may be stuck
    parent = os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:  # it ended before the arrangement was made
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange


def call_this_process(name: str) -> None:
    """Show up as `name` (at most 15 bytes) in `ps` and `top`, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def stop_leftover(pid_file: Path, program: str, sig: signal.Signals, timeout_s: float = 30) -> None:
    """End the server that `pid_file` names if it still runs `program`, and remove the file.

    A hub that was killed leaves its servers shutting down (Linux) or running (elsewhere); the caller holds the
    data directory's lock, so nobody else wants them. Raises EmbeddedError when it does not end in time.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    deadline = time.monotonic() + timeout_s
    while program in command_of(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, sig)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"A {program} of an earlier hub (pid {pid}) does not end; stop it by hand.")
        time.sleep(POLL_S)
    pid_file.unlink(missing_ok=True)


def command_of(pid: int) -> str:
    """The command line of a running process; empty when there is none (or only its zombie)."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listing = subprocess.run(  # noqa: S603 - a number is all that varies
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip()


def package_dir(package: str, remedy: str) -> Path:
    """The folder of an installed package, which is not imported. Raises EmbeddedError that ends with `remedy`."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"The package {package} is not installed for this platform: {remedy}")
    return Path(spec.submodule_search_locations[0])
