"""The parent of a hub's workers: forks them, replaces the dead, drains them when it is told to end."""

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import structlog

from hub.embedded.process import EmbeddedError
from hub.process.exits import ExitCode
from hub.process.services import Services
from hub.process.worker import Body, Worker

log = structlog.get_logger("hub.process")

LOOK_S = 1.0  # a death of ours wakes the loop at once
SOON_S = 0.1  # while somebody waits for its next start or its end
KILL_AFTER_GRACE_S = 1.0


class Supervisor:
    """Runs one worker per listener until a signal. It has one thread and no event loop, so that it can fork."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        body: Body,
        services: Services,
        *,
        grace_s: float,
        on_ready: Callable[[], None],
        on_fork: Callable[[], None],
    ) -> None:
        """`on_ready` is called once, when every worker takes traffic; `on_fork` in every new worker process."""
        self._listeners = listeners
        self._services = services
        self._grace_s = grace_s
        self._on_ready = on_ready
        self._on_fork = on_fork
        self._workers = [Worker(listener, body, self._leave_to(listener)) for listener in listeners]
        self._stops = 0
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def run(self) -> ExitCode:
        """Serve until SIGTERM, SIGINT or SIGHUP, or until it is hopeless; a second signal ends the drain at once."""
        gc.collect()
        gc.freeze()  # what is imported stays shared with the workers: no collector touches its pages
        with self._woken_by_signals():
            for worker in self._workers:
                worker.start(time.monotonic())
            watched = self._watch()
            for listener in self._listeners:
                listener.close()  # else new connections would wait in queues that nobody reads
            drained = self._drain()
        return watched or drained

    def _watch(self) -> ExitCode:
        announced = False
        while not self._stops:
            self._wait(LOOK_S if all(worker.pid is not None for worker in self._workers) else SOON_S)
            now = time.monotonic()
            try:
                self._services.revive(now)
            except EmbeddedError as e:
                log.critical("giving_up", reason=str(e))
                return ExitCode.FAILED
            for worker in self._workers:
                worker.check(now)
            if any(worker.hopeless for worker in self._workers):
                log.critical("giving_up", reason="a worker keeps dying at its start")
                return ExitCode.FAILED
            if not announced and all(worker.ready for worker in self._workers):
                announced = True
                self._on_ready()
        return ExitCode.OK

    def _drain(self) -> ExitCode:
        log.info("draining", at_most_s=self._grace_s)
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + KILL_AFTER_GRACE_S
        asked = self._stops
        while self._living():
            if self._stops > asked:
                log.warning("drain_cut_short", reason="second signal")
                self._kill()
                return ExitCode.FAILED
            if time.monotonic() >= deadline:
                log.warning("drain_cut_short", reason="grace period over")
                self._kill()
                break
            self._wait(SOON_S)
        return ExitCode.OK

    def _living(self) -> bool:
        for worker in self._workers:
            worker.reap()
        return any(worker.pid is not None for worker in self._workers)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)
        while self._living():
            self._wait(SOON_S)

    def _send(self, sig: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(sig)

    def _wait(self, timeout_s: float) -> None:
        """Sleep until a signal, a worker's readiness, or the timeout."""
        assert self._wakeup is not None
        reader = self._wakeup[0]
        pipes = [worker.ready_pipe for worker in self._workers if worker.ready_pipe is not None]
        ready, _, _ = select.select([reader.fileno(), *pipes], [], [], timeout_s)
        if reader.fileno() in ready:
            reader.recv(4096)

    @contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        self._wakeup = reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        previous = {sig: signal.signal(sig, self._on_signal) for sig in (*stop_signals(), signal.SIGCHLD)}
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for sig, handler in previous.items():
                signal.signal(sig, handler)
            reader.close()
            writer.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stops += 1

    def _leave_to(self, own: socket.socket) -> Callable[[], None]:
        """What the worker of the listener `own` closes at its birth."""

        def leave() -> None:
            assert self._wakeup is not None
            for end in self._wakeup:
                end.close()
            for worker in self._workers:
                if worker.ready_pipe is not None:
                    os.close(worker.ready_pipe)
            for listener in self._listeners:
                if listener is not own:
                    listener.close()
            self._on_fork()

        return leave


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that end a hub; the one for a closed terminal only when nobody (`nohup`) has it ignored."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)
