"""`GET /v1/ws`: lets in whom it may, keeps the worker's connections, and sends them away when the worker stops."""

import asyncio
import math
import random
from contextlib import ExitStack
from dataclasses import replace

import structlog
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, WebSocketScope

from hub.auth.places import Place, Places
from hub.auth.rate_limits import RateLimits
from hub.domain.errors import HubError, RateLimited, Unavailable
from hub.domain.principal import Principal
from hub.gateway.access_watch import AccessWatch
from hub.gateway.connection import Connection
from hub.gateway.credentials import subprotocol
from hub.gateway.dispatch import Dispatch
from hub.gateway.entry import RETRY_AFTER_S, Entry, TurnedAway, refuse
from hub.gateway.handlers.identity import auth_result, person
from hub.gateway.heartbeat import Heartbeat
from hub.gateway.services import GatewayServices
from hub.gateway.transport import HubWebSocket
from hub.protocol.close import Close
from hub.protocol.commands import Auth
from hub.protocol.frames import MAX_FRAME_BYTES, Hello, HelloLimits, live_frame, timestamp
from hub.protocol.live import ServerDrainingData
from hub.relay.broadcast import Notice
from hub.store.database import Store
from hub.telemetry.times import Times

DRAIN_BATCH = 200  # connections closed at once …
DRAIN_STEP_S = 0.1  # … and then this pause, so that they do not come back as one crowd
RECONNECT_WITHIN_MS = 5_000


class Gateway:
    """The WebSocket edge of one worker, as an ASGI application for its path. `run` must be running."""

    def __init__(
        self, services: GatewayServices, *, rate_limits: RateLimits, places: Places, store: Store, node: str
    ) -> None:
        """`places` are those of connections."""
        options = services.options
        self._entry = Entry(services.authenticator, rate_limits, options)
        self._limits = rate_limits
        self._presence = services.presence
        self._serving = services.serving
        self._node = node
        self._options = options
        self._dispatch = Dispatch(services)
        self._connections: set[Connection] = set()
        self._heartbeat = Heartbeat(options.heartbeat_s)
        self._watch = AccessWatch(self._connections, services.authenticator, store, services.presence, services.serving)
        self._places = places
        self._sockets = 0  # also those that are not authenticated yet
        self._draining = False
        self._nobody_left = asyncio.Event()
        self._log = structlog.get_logger("hub.gateway")

    @property
    def connections(self) -> int:
        """Authenticated connections."""
        return len(self._connections)

    @property
    def ack_times(self) -> Times:
        """How long messages took from their turn on the connection to the ok."""
        return self._dispatch.ack_times

    @property
    def sockets(self) -> int:
        """WebSockets of every kind, also those whose handshake goes on."""
        return self._sockets

    def notice(self, notice: Notice) -> None:
        """Another worker tells that somebody's access has changed."""
        self._watch.notice(notice)

    async def run(self) -> None:
        """Heartbeats and access checks, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heartbeat.run())
            tasks.create_task(self._watch.run())

    async def __call__(self, scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one handshake, and the connection that may come of it, to its end."""
        await receive()  # websocket.connect
        self._sockets += 1
        try:
            with ExitStack() as held:
                place: Place | None = None
                try:
                    if self._draining:
                        raise Unavailable("the server is going away", retry_after=RETRY_AFTER_S)
                    principal = await self._entry.principal(scope, self._sockets)
                    if principal is not None:
                        place = self._take(principal, held)
                except HubError as e:
                    await refuse(send, e)
                else:
                    await self._accept(scope, receive, send, principal, place, held)
        finally:
            self._sockets -= 1

    async def drain(self, grace_s: float) -> None:
        """Refuse new connections, tell the others, and close them (4000) over at most half of `grace_s`."""
        self._draining = self._serving.draining = True
        leaving = [c for c in self._connections if not c.closing]
        random.shuffle(leaving)
        for connection in leaving:
            # Each client gets its own moment, so that the other workers are not stormed.
            wait_ms = random.randrange(RECONNECT_WITHIN_MS)  # noqa: S311  # spreads load, protects nothing
            connection.put(live_frame(ServerDrainingData(reconnect_after_ms=wait_ms)))
        steps = max(1, int(grace_s / 2 / DRAIN_STEP_S))
        batch = max(DRAIN_BATCH, math.ceil(len(leaving) / steps))
        for start in range(0, len(leaving), batch):
            if start:
                await asyncio.sleep(DRAIN_STEP_S)
            for connection in leaving[start : start + batch]:
                connection.close(Close.DRAINING, "the server is going away")
        await self._wait_until_empty(grace_s / 2)

    async def _wait_until_empty(self, timeout_s: float) -> None:
        """Commands under way are finished, if that is soon."""
        self._nobody_left.clear()
        try:
            async with asyncio.timeout(timeout_s):
                while self._connections:
                    await self._nobody_left.wait()
                    self._nobody_left.clear()
        except TimeoutError:
            return

    async def _accept(
        self,
        scope: WebSocketScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        principal: Principal | None,
        place: Place | None,
        held: ExitStack,
    ) -> None:
        transport: HubWebSocket = scope["state"]["transport"]
        answer, spoken = subprotocol(scope)
        await send({"type": "websocket.accept", "subprotocol": answer, "headers": []})
        scope["headers"] = scope["subprotocols"] = ()  # an idle connection keeps no handshake, and no secret
        scope["query_string"] = b""
        if not spoken:
            transport.end(Close.BAD_VERSION, "this hub speaks hub.v1")
            return
        first: Auth | None = None
        try:
            if principal is None:
                first, principal = await self._entry.first_frame(receive)
            if place is None:
                place = self._take(principal, held)
            await place.confirm()  # asked while the client was told that it may speak
        except TurnedAway as e:
            transport.end(e.code, e.reason)
            return
        except RateLimited as e:
            transport.end(Close.RATE_LIMITED, e.message)
            return
        if (client := scope["client"]) is not None:
            principal = replace(principal, address=client[0])
        await self._serve(transport, receive, principal, first)

    def _take(self, principal: Principal, held: ExitStack) -> Place:
        place = self._places.take(principal)
        held.callback(place.release)
        return place

    async def _serve(
        self, transport: HubWebSocket, receive: ASGIReceiveCallable, principal: Principal, first: Auth | None
    ) -> None:
        connection = Connection(transport, principal, self._options, self._dispatch.answer, self._limits)
        slot = self._heartbeat.add(transport)
        self._connections.add(connection)
        try:
            connection.put(self._hello(connection).model_dump_json().encode())
            if first is not None:
                connection.reply(first.id, auth_result(principal))
            if self._draining:  # it began while this one was being let in
                connection.close(Close.DRAINING, "the server is going away")
            await connection.serve(receive)
        finally:
            self._heartbeat.remove(transport, slot)
            self._connections.discard(connection)
            self._serving.left(connection)
            for session in connection.followers:
                self._presence.leave(session, connection.principal.user, connection.id)
            if not self._connections:
                self._nobody_left.set()

    def _hello(self, connection: Connection) -> Hello:
        options = self._options
        return Hello(
            connection=connection.id,
            user=person(connection.principal),
            node=self._node,
            expires_at=timestamp(connection.principal.expires_at),
            heartbeat_s=options.heartbeat_s,
            limits=HelloLimits(
                frame_bytes=MAX_FRAME_BYTES,
                commands_per_minute=options.commands_per_minute,
                sessions=options.sessions_per_connection,
            ),
        )
