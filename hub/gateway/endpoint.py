"""`GET /v1/ws`: lets in whom it may, keeps the worker's connections, and sends them away when the worker stops."""

import asyncio
import math
import random
from dataclasses import dataclass, replace
from functools import partial

import structlog
from uvicorn._types import WebSocketScope

from hub.auth.places import Place, Places
from hub.auth.rate_limits import RateLimits
from hub.domain.errors import HubError, Internal, NotFound, RateLimited, Unavailable
from hub.domain.principal import Principal
from hub.gateway.access_watch import AccessWatch
from hub.gateway.connection import Connection
from hub.gateway.credentials import Shown, subprotocol
from hub.gateway.dispatch import Dispatch
from hub.gateway.entry import RETRY_AFTER_S, Entry, TurnedAway
from hub.gateway.handlers.identity import auth_result
from hub.gateway.heartbeat import Heartbeat
from hub.gateway.proxies import Proxies
from hub.gateway.services import GatewayServices
from hub.gateway.text_frame import text_frame
from hub.gateway.transport import HubWebSocket
from hub.gateway.upgrade import refusal, switching
from hub.protocol.close import Close
from hub.protocol.commands import Auth
from hub.protocol.frames import MAX_FRAME_BYTES, HelloFrames, HelloLimits, live_frame
from hub.protocol.live import ServerDrainingData
from hub.protocol.problem import problem, problem_headers
from hub.relay.broadcast import Notice
from hub.store.database import Store
from hub.telemetry.times import Times

PATH = "/v1/ws"
DRAIN_BATCH = 200  # connections closed at once …
DRAIN_STEP_S = 0.1  # … and then this pause, so that they do not come back as one crowd
RECONNECT_WITHIN_MS = 5_000


@dataclass(slots=True)
class _Arrival:
    """A handshake that is good so far. `answer` makes it a WebSocket; `is_spoken`: in a version that the hub speaks."""

    peer: HubWebSocket
    answer: bytes
    is_spoken: bool
    address: str | None
    shown: Shown
    origin: str | None
    is_accepted: bool = False


class Gateway:
    """The WebSocket edge of one worker. `run` must be running.

    Whoever is known comes in without a task: what is left to ask, whether there is a place, comes back as a call.
    """

    def __init__(
        self, services: GatewayServices, *, rate_limits: RateLimits, places: Places, store: Store, node: str
    ) -> None:
        """`places` are those of connections."""
        options = services.options
        self._entry = Entry(services.authenticator, rate_limits, options)
        self._proxies = Proxies(options.trusted_proxies)
        self._limits = rate_limits
        self._presence = services.presence
        self._serving = services.serving
        self._options = options
        self._hello = HelloFrames(
            node,
            options.heartbeat_s,
            HelloLimits(
                frame_bytes=MAX_FRAME_BYTES,
                commands_per_minute=options.commands_per_minute,
                sessions=options.sessions_per_connection,
            ),
        )
        self._dispatch = Dispatch(services)
        self._connections: set[Connection] = set()
        self._heartbeat = Heartbeat(options.heartbeat_s)
        self._watch = AccessWatch(self._connections, services.authenticator, store, services.presence, services.serving)
        services.rooms.when_left(self._watch.left)
        self._places = places
        self._sockets = 0  # also those that are not authenticated yet
        self._strangers = 0  # of them: whose first frame is to say who they are
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

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        """Let a peer in, or refuse it, now or soon. Never raises."""
        self._sockets += 1
        if request["path"] != PATH:
            self._refuse(peer, NotFound("no WebSocket is served here"))
            return
        try:
            shown, origin = self._shown(request)
            version, is_spoken = subprotocol(request)
            client = request["client"]
            arrival = _Arrival(
                peer,
                switching(key, version, peer.default_headers),
                is_spoken=is_spoken,
                address=client[0] if client is not None else None,
                shown=shown,
                origin=origin,
            )
            if (known := self._entry.known(shown)) is not None:
                self._let_in(arrival, known)
            else:
                peer.spawn(self._meet(arrival))
        except HubError as e:
            self._refuse(peer, e)
        except Exception:  # noqa: BLE001  # boundary: one handshake
            self._log.exception("handshake failed")
            self._refuse(peer, Internal("internal error"))

    def _shown(self, request: WebSocketScope) -> tuple[Shown, str | None]:
        if self._draining:
            raise Unavailable("the server is going away", retry_after=RETRY_AFTER_S)
        self._proxies.look_behind(request)
        return self._entry.shown(request, self._sockets)

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

    async def _meet(self, arrival: _Arrival) -> None:
        """Find out who it is, and let them in."""
        try:
            if arrival.shown != Shown():
                self._let_in(arrival, await self._entry.principal(arrival.shown, arrival.origin))
            elif (introduced := await self._introduction(arrival)) is not None:
                first, principal = introduced
                self._let_in(arrival, principal, first)
        except TurnedAway as e:
            self._turn_away(arrival, e.code, e.reason)
        except HubError as e:
            if arrival.is_accepted:
                self._turn_away(arrival, Close.RATE_LIMITED, e.message)
            else:
                self._refuse(arrival.peer, e)
        except Exception:  # noqa: BLE001  # boundary: one handshake
            self._log.exception("handshake failed")
            if arrival.is_accepted:
                self._turn_away(arrival, Close.OVERLOADED, "internal error")
            else:
                self._refuse(arrival.peer, Internal("internal error"))

    async def _introduction(self, arrival: _Arrival) -> tuple[Auth, Principal] | None:
        """The first frame of who has shown nothing, and who it is; None when they were turned away.

        Half of all sockets are for those at most: who says nothing costs nothing, and would keep everybody else out.
        """
        if self._strangers >= max(1, self._options.connections // 2):
            raise Unavailable("too many connections have not said who they are", retry_after=RETRY_AFTER_S)
        self._strangers += 1
        try:
            return await self._entry.first_frame(arrival.peer) if self._accept(arrival) else None
        finally:
            self._strangers -= 1

    def _accept(self, arrival: _Arrival) -> bool:
        """Make it a WebSocket, if it is none yet; whether it speaks what the hub speaks. Else it is closed."""
        if not arrival.is_accepted:
            arrival.is_accepted = True
            arrival.peer.accept(arrival.answer)
        if not arrival.is_spoken:
            self._turn_away(arrival, Close.BAD_VERSION, "this hub speaks hub.v1")
        return arrival.is_spoken

    def _let_in(self, arrival: _Arrival, principal: Principal, first: Auth | None = None) -> None:
        """Whoever it is, there must be a place for them. Raises `RateLimited`."""
        if arrival.address is not None:
            principal = replace(principal, address=arrival.address)
        place = self._places.take(principal)
        if arrival.is_spoken:
            place.when_confirmed(partial(self._seat, arrival, principal, place, first))
        else:
            place.release()
            self._accept(arrival)

    def _seat(
        self, arrival: _Arrival, principal: Principal, place: Place, first: Auth | None, refused: RateLimited | None
    ) -> None:
        """It is known whether there is a place; never raises."""
        try:
            if refused is not None:
                self._accept(arrival)
                self._turn_away(arrival, Close.RATE_LIMITED, refused.message)
            elif arrival.peer.is_gone:
                self._sockets -= 1
                place.release()
            else:
                self._begin(arrival, principal, place, first)
        except Exception:  # noqa: BLE001  # boundary: one handshake, amid the replies of Redis
            self._log.exception("handshake failed")
            self._sockets -= 1
            place.release()
            arrival.peer.drop()

    def _begin(self, arrival: _Arrival, principal: Principal, place: Place, first: Auth | None) -> None:
        peer = arrival.peer
        connection = Connection(peer, principal, self._options, self._dispatch.answer, self._limits, self._gone)
        connection.place = place
        connection.slot = self._heartbeat.add(peer)
        self._connections.add(connection)
        try:
            self._welcome(connection, arrival, first)
        except Exception:  # noqa: BLE001  # boundary: one handshake; what is kept for it now goes when it has ended
            self._log.exception("handshake failed")
            connection.drop()

    def _welcome(self, connection: Connection, arrival: _Arrival, first: Auth | None) -> None:
        principal = connection.principal
        hello = self._hello.frame(connection.id, principal.user, principal.name, principal.expires_at)
        if first is None:  # all in one write: each one wakes the client
            arrival.is_accepted = True
            arrival.peer.accept(arrival.answer + text_frame(hello))
        else:
            connection.put(hello)
            connection.reply(first.id, auth_result(principal))
        connection.begin(self._options.stall_s)
        if self._draining:  # it began while this one was being let in
            connection.close(Close.DRAINING, "the server is going away")

    def _gone(self, connection: Connection) -> None:
        """It has ended, and nothing is done for it any more."""
        self._sockets -= 1
        if connection.place is not None:
            connection.place.release()
        self._heartbeat.remove(connection.transport, connection.slot)
        self._connections.discard(connection)
        self._serving.left(connection)
        for session in connection.followers:
            self._presence.leave(session, connection.principal.user, connection.id)
        if not self._connections:
            self._nobody_left.set()

    def _turn_away(self, arrival: _Arrival, code: Close, reason: str) -> None:
        """Close what was accepted."""
        self._sockets -= 1
        arrival.peer.end(code, reason)

    def _refuse(self, peer: HubWebSocket, error: HubError) -> None:
        """Answer the handshake with an HTTP error instead of an upgrade."""
        self._sockets -= 1
        body = problem(error)
        peer.refuse(refusal(body.status, problem_headers(error), body.model_dump_json().encode()))
