"""`hub serve`: everything is brought up in order, then watched, then taken down in reverse."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import FrameType

import structlog

try:
    from uvloop import new_event_loop
except ImportError:  # there is none for this platform
    from asyncio import new_event_loop  # type: ignore[assignment]

from hub import app
from hub.embedded.lock import DataDirLock
from hub.embedded.places import SOCKET_PATH_BYTES
from hub.engine import catalog
from hub.process.bring_up import bring_up, operator_errors
from hub.process.exits import ExitCode
from hub.process.listen import listening_sockets, url_of
from hub.process.services import Services
from hub.process.supervisor import Supervisor, stop_signals
from hub.process.worker import Life
from hub.settings import Settings

log = structlog.get_logger("hub.process")

FILES_BESIDE_SOCKETS = 256


def serve(settings: Settings) -> ExitCode:
    """Run a hub in the foreground until SIGTERM, SIGINT or SIGHUP.

    Prints `ready http://HOST:PORT` on stdout when all workers take traffic. A signal before that ends it as well; a
    second one ends it at once, and with it the services. Raises CannotStart.
    """
    early: list[int] = []

    def note_signal(number: int, _frame: FrameType | None) -> None:
        # Raising here could strand a lock of whatever is interrupted; a start takes seconds and is finished first.
        if early:
            os._exit(ExitCode.FAILED)
        early.append(number)

    for sig in stop_signals():
        signal.signal(sig, note_signal)
    _raise_open_files(open_files(settings))
    with ExitStack() as stack:
        lock = None
        if settings.embedded:
            with operator_errors():
                lock = stack.enter_context(DataDirLock(settings.data_dir))
        listeners = listening_sockets(settings.host, settings.port, settings.workers, settings.stall_s)
        for listener in listeners:
            stack.callback(listener.close)
        services = Services(settings.data_dir)
        stack.callback(services.stop)
        complete = bring_up(settings, services)
        if settings.role != "gateway":
            catalog.preload()  # once, here, instead of in the first turn of every worker
        url = url_of(listeners[0], settings.host)
        if lock is not None:
            lock.note(**_note(settings, complete, url))
        shared = _shared(stack) if settings.workers > 1 else None
        supervisor = Supervisor(
            listeners,
            lambda listener, life, on_ready: _work(complete, listener, life, on_ready, shared),
            services,
            grace_s=settings.grace_s,
            on_ready=lambda: _say_ready(url),
            on_fork=lock.release if lock is not None else lambda: None,
        )
        return ExitCode.OK if early else supervisor.run()


def open_files(settings: Settings) -> int:
    """How many files a worker may want to have open."""
    return settings.connections_per_worker + settings.streams_per_worker + FILES_BESIDE_SOCKETS


def _raise_open_files(wanted: int) -> None:
    """Take as many as the hard limit allows; shells give 1024, which is a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _shared(stack: ExitStack) -> Path | None:
    """A folder in which the workers meet, nobody else's; None where none can be made."""
    try:
        return Path(stack.enter_context(TemporaryDirectory(prefix="hub-", dir=_short_enough())))
    except OSError as e:
        log.warning("metrics_of_one_worker", reason=f"no folder that the workers share: {e}")
        return None


def _short_enough() -> str | None:
    """Where folders are made: the usual place, if names of sockets in it fit."""
    return None if len(gettempdir()) < SOCKET_PATH_BYTES // 2 else "/tmp"  # noqa: S108 - the folder in it is private


def _work(
    settings: Settings, listener: socket.socket, life: Life, on_ready: Callable[[], None], shared: Path | None
) -> None:
    """The life of one worker process."""
    # What was imported lives as long as the process: without it a full collection takes 5 ms instead of 150, and the
    # pages stay shared with the supervisor. Collections are rarer, too: tokens leave no cycles behind.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(app.serve(settings, [listener], life.node, on_ready, lost=life.lost, shared=shared))


def _note(given: Settings, complete: Settings, url: str) -> dict[str, str]:
    """What other commands need to reach this hub and the services it brought along."""
    note = {"pid": str(os.getpid()), "url": url}
    if given.database_url is None and complete.database_url is not None:
        note["database_url"] = complete.database_url.get_secret_value()
    if given.redis_url is None and complete.redis_url is not None:
        note["redis_url"] = complete.redis_url.get_secret_value()
    if given.local_model_url is None and complete.local_model_url is not None:
        note["local_model_url"] = complete.local_model_url
    return note


def _say_ready(url: str) -> None:
    with suppress(OSError):  # nobody reads it, or the disk is full: the hub serves all the same
        sys.stdout.write(f"ready {url}\n")
        sys.stdout.flush()
