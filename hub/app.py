"""One worker of the hub: settings in, everything built once, started, drained, closed.

This is the composition root: the only place that knows all parts. Nothing here does work of its own; how the parts of
each layer are built is in `hub.composition`.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, assert_never

import structlog
import uvicorn
from uvicorn._types import WebSocketScope

from hub.api.services import Readiness
from hub.composition.auth import AuthParts
from hub.composition.edges import GatewayParts, rest
from hub.composition.metrics import metrics_of
from hub.composition.relay import RelayParts
from hub.composition.runs import RunsParts
from hub.composition.sessions import SessionsParts
from hub.domain.errors import HubError, Unavailable
from hub.gateway.handshake import HubHttp
from hub.gateway.transport import HubWebSocket
from hub.gateway.upgrade import refusal
from hub.protocol.frames import MAX_FRAME_BYTES
from hub.relay import keys
from hub.relay.broadcast import (
    CredentialsChanged,
    MembershipChanged,
    RunQueued,
    StopRun,
    TeamsChanged,
    parse_notice,
)
from hub.settings import Settings
from hub.store.database import Store
from hub.telemetry import logs
from hub.telemetry.host import HostMetrics
from hub.telemetry.lateness import LoopLateness

TEAMS_S = 2.0  # that a worker waits for a database which is not there before it listens
TAKE_OVER_S = 2.0  # the same, for what a dead worker has left
DATE_S = 1.0  # the date in answers is no older
UVICORN_STOP_S = 5  # for open HTTP requests, after the sockets are drained


class Worker:
    """All parts of one worker, a layer of the hub after the other."""

    def __init__(
        self,
        settings: Settings,
        node: str,
        tasks: asyncio.TaskGroup,
        log_lines_dropped: Callable[[], int] = int,
        shared: Path | None = None,
    ) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise ValueError("a worker needs HUB_DATABASE_URL and HUB_REDIS_URL")
        self._settings = settings
        self._tasks = tasks
        self._shared = shared
        self.stopping = asyncio.Event()

        self.store = Store(settings.database_url.get_secret_value(), pool_size=settings.database_pool, tells=True)
        self.relay = RelayParts(settings.redis_url.get_secret_value())
        self.auth = AuthParts(settings, self.store, self.relay)
        self.runs = RunsParts(settings, self.store, self.relay, node, tasks)
        self.sessions = SessionsParts(settings, self.store, self.relay, self.runs)
        self.edge = GatewayParts(settings, self.store, self.relay, self.auth, self.sessions, node, tasks)
        self.lateness = LoopLateness()
        metrics = metrics_of(
            node,
            self.store,
            self.relay,
            self.auth,
            self.runs,
            self.sessions,
            self.edge,
            self.lateness,
            log_lines_dropped,
        )
        self.metrics = HostMetrics(node, metrics.text, shared)
        self.api = rest(
            settings,
            self.auth,
            self.runs,
            self.sessions,
            readiness=self.readiness,
            metrics=self.metrics.text,
            stopping=self.stopping,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application: the REST edge. Sockets do not come this way."""
        await self.api(scope, receive, send)

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        """Somebody asks for a WebSocket."""
        if self._settings.role == "runner":
            peer.refuse(refusal(403))
        else:
            self.edge.gateway.arrive(request, key, peer)

    def start(self) -> None:
        """Start all tasks, a runner's too if it is one. None ends by itself; one that fails takes the worker down."""
        for name, run in {
            "pipeline": self.relay.pipeline.run(),
            "subscriber": self.relay.subscriber.run(),
            "keeper": self.runs.keeper.run(),
            "presence": self.relay.presence.run(),
            "holdings": self.relay.holdings.run(),
            "rooms": self.edge.rooms.run(),
            "gateway": self.edge.gateway.run(),
            "erasure": self.sessions.erasure.backlog.run(),
            "organisation erasure": self.sessions.organisation_erasure.backlog.run(),
            "suspension": self.sessions.suspension.backlog.run(),
            "retention": self.sessions.retention.run(),
            "teams": self.runs.imported.run(),
            "lateness": self.lateness.run(),
        }.items():
            self._tasks.create_task(run, name=name)
        if self._shared is not None:
            self._tasks.create_task(self.metrics.run(), name="metrics")
        if self._settings.role != "gateway":
            self.runs.start_runner()
        self.relay.bot_line.start(self.runs.bots.heard, self.edge.serving.heard)
        self.relay.subscriber.subscribe(keys.NOTICES, self._on_notice, self.runs.executor.wake)

    async def take_over(self, lost: Sequence[str]) -> None:
        """Claim at once what worker processes have left that are known to be dead. What cannot be asked for now is
        claimed when its leases have run out."""
        if not lost or self._settings.role == "gateway":
            return
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(TAKE_OVER_S):
                await self.runs.executor.take_over(lost)

    async def read_teams(self) -> None:
        """Know which teams there are before anybody asks. What cannot be read now is read as soon as it can be; until
        then this worker is not ready."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(TEAMS_S):
                await self.runs.imported.refresh()

    async def readiness(self) -> Readiness:
        """Ready with PostgreSQL; without Redis only degraded: acks and local work go on."""
        checks = {"postgresql": "ok", "redis": "ok"}
        try:
            await self.store.ping()
        except HubError:
            checks["postgresql"] = "down"
        if not self.runs.imported.known:
            checks["teams"] = "not read yet"
        heard = self.relay.subscriber.connected and self.relay.pipeline.connected
        if not heard or self.relay.holdings.refused:
            checks["redis"] = "degraded"
        if self.stopping.is_set():
            checks["worker"] = "draining"
        ready = checks["postgresql"] == "ok" and self.runs.imported.known and not self.stopping.is_set()
        return Readiness(ready=ready, checks=checks)

    async def drain(self) -> None:
        """Say goodbye: no new work, runs handed over between turns, sockets closed with a hint when to come back."""
        self.stopping.set()
        grace = self._settings.grace_s
        async with asyncio.TaskGroup() as both:
            both.create_task(self.runs.executor.drain(grace * 0.5))
            both.create_task(self.edge.gateway.drain(grace * 0.5))

    async def close(self) -> None:
        """Let go of connections and threads, after all tasks have ended."""
        await self.runs.executor.release_all()
        await self.runs.catalog.aclose()
        await self.auth.close()
        await self.relay.redis.close()
        await self.store.close()

    def _on_notice(self, payload: bytes) -> None:
        notice = parse_notice(payload)
        match notice:
            case RunQueued():
                self.runs.executor.wake()
            case StopRun(run=run):
                self.runs.keeper.look_at(run)
            case CredentialsChanged(user=user):
                self.auth.known.forget(user)
                self.edge.gateway.notice(notice)
            case MembershipChanged():
                self.edge.gateway.notice(notice)
            case TeamsChanged():
                self.runs.imported.look()
            case None:
                structlog.get_logger("hub.relay").warning("unknown_notice")
            case _:
                assert_never(notice)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the worker drains first, then tells it to stop, for which it waits instead
    of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._end = asyncio.Event()

    def end(self) -> None:
        """Take no more connections and return."""
        self.should_exit = True
        self._end.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # which writes the date of answers, and sees that it is to end
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_S):
                    await self._end.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    settings: Settings,
    sockets: list[socket.socket],
    node: str,
    on_ready: Callable[[], None],
    stop: asyncio.Event | None = None,
    *,
    lost: Sequence[str] = (),
    shared: Path | None = None,
) -> None:
    """Run one worker on these listening sockets until `stop` is set, then drain and return.

    `lost` are workers known to be dead, whose runs need not wait for their leases to run out. `shared` is a folder of
    all workers of this host, in which they meet to tell their metrics together.
    Without `stop` SIGTERM and SIGINT set it. `on_ready` is called when the worker may take traffic. Raises when a part
    of the worker has failed for good.
    """
    log_lines = logs.configure(settings.log_level, settings.log_format)
    structlog.contextvars.bind_contextvars(node=node)  # of this task and all that it starts
    stop = stop or _stop_on_signals()
    worker: Worker | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            worker = Worker(settings, node, tasks, lambda: log_lines.dropped, shared)
            server = _Server(_uvicorn_config(worker, settings))
            worker.start()
            await worker.read_teams()
            await worker.take_over(lost)
            tasks.create_task(worker.store.fill_pool(), name="connections")
            serving = tasks.create_task(server.serve(sockets=sockets), name="uvicorn")
            await _until_ready(worker, server, stop)
            if not stop.is_set():
                on_ready()
            await stop.wait()
            await worker.drain()
            server.end()
            await serving
            raise _Drained  # noqa: TRY301 - the way to end the endless tasks of the group
    except* _Drained:
        pass
    finally:
        if worker is not None:
            await worker.close()


class _Drained(Exception):
    """Ends the task group of a worker that has nothing left to do."""


def _uvicorn_config(worker: Worker, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        worker,
        http=HubHttp,
        ws=HubWebSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=UVICORN_STOP_S,
        server_header=False,
    )


async def _until_ready(worker: Worker, server: uvicorn.Server, stop: asyncio.Event) -> None:
    """Wait until requests are taken and PostgreSQL answers; uvicorn has no event for it, hence the polling."""
    while not stop.is_set() and not (server.started and (await worker.readiness()).ready):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    return stop
