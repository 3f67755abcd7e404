"""One worker process: forked when everything is imported, restarted when it dies, gone when its parent is."""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import structlog

from hub.embedded.process import call_this_process, dies_with_parent
from hub.process.restarts import Restarts

log = structlog.get_logger("hub.process")


@dataclass(frozen=True, slots=True)
class Life:
    """One process of a worker: its name, as in `hello` and in leases, and those of the processes before it that died
    in the middle of their work: nobody else holds what they held."""

    node: str
    lost: tuple[str, ...]


Body: TypeAlias = Callable[[socket.socket, Life, Callable[[], None]], None]
"""What a worker does: serves the socket, calls the callback when it may take traffic, returns when drained."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Worker:
    """The process that serves one listening socket, and its successors."""

    def __init__(self, listener: socket.socket, body: Body, leave: Callable[[], None]) -> None:
        """`leave` runs in each new process and closes what only the supervisor needs."""
        self._listener = listener
        self._body = body
        self._leave = leave
        self._restarts = Restarts()
        self._pid: int | None = None
        self._mark = ""
        self._lost: tuple[str, ...] = ()
        self._ready_pipe: int | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The running process, if any."""
        return self._pid

    @property
    def ready(self) -> bool:
        """Whether the running process takes traffic."""
        return self._ready

    @property
    def ready_pipe(self) -> int | None:
        """Readable when a starting process has become ready or died."""
        return self._ready_pipe

    @property
    def hopeless(self) -> bool:
        """Whether it died so often, so quickly, that it is not started again."""
        return self._restarts.hopeless

    def start(self, now: float) -> None:
        """Fork a process. Only from a process with one thread and no running event loop."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        prepare = dies_with_parent(signal.SIGKILL)  # what lingers would serve with services that are gone
        self._mark = secrets.token_hex(4)
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has its own handlers no signal may reach the ones it inherits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                self._become(writer, prepare)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(writer)
        self._pid, self._ready_pipe, self._ready = pid, reader, False
        self._restarts.started(now)

    def check(self, now: float) -> None:
        """Note readiness and death; start a successor when it is due."""
        self._look_at_pipe()
        was_ready = self._ready
        if self.reap():
            self._restarts.died(now, was_ready=was_ready)
        if self._pid is None and self._restarts.due(now):
            self.start(now)

    def reap(self) -> bool:
        """Whether the process has just been found dead."""
        if self._pid is None:
            return False
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return False
        code = os.waitstatus_to_exitcode(status)
        how = f"code {code}" if code >= 0 else signal.Signals(-code).name
        (log.info if code == 0 else log.error)("worker_ended", pid=pid, how=how)
        if code != 0:
            self._lost = (*self._lost, node_of(pid, self._mark))
        self._pid, self._ready = None, False
        self._forget_pipe()
        return True

    def send(self, sig: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._pid is not None:  # not yet reaped, so the number is still its own
            os.kill(self._pid, sig)

    def _look_at_pipe(self) -> None:
        if self._ready_pipe is None:
            return
        try:
            self._ready = os.read(self._ready_pipe, 1) != b""
        except BlockingIOError:
            return
        if self._ready:
            self._lost = ()
        self._forget_pipe()

    def _forget_pipe(self) -> None:
        if self._ready_pipe is not None:
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def _become(self, ready_fd: int, prepare: Callable[[], None] | None) -> NoReturn:
        """The life of the forked process; it never returns into the supervisor's code."""
        code = 1
        try:
            if prepare is not None:
                prepare()
            call_this_process("hub worker")
            os.setsid()  # Ctrl-C is for the supervisor, which drains
            signal.set_wakeup_fd(-1)
            for sig in SIGNALS:
                signal.signal(sig, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._leave()
            life = Life(node_of(os.getpid(), self._mark), self._lost)
            self._body(self._listener, life, lambda: _announce(ready_fd))
            code = 0
        except BaseException:  # boundary: the end of the process, whatever ended it
            log.critical("worker_failed", pid=os.getpid(), exc_info=True)
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:  # a full disk must not lead back into the supervisor's code
                os._exit(code)


def node_of(pid: int, mark: str) -> str:
    """The name of a worker process, like no other's on any host at any time."""
    return f"{socket.gethostname()}:{pid}:{mark}"


def _announce(ready_fd: int) -> None:
    os.write(ready_fd, b"\n")
    os.close(ready_fd)
