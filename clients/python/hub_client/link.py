"""One connection to a hub, kept: opened, read, lost, and opened again as the close code says."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from websockets.exceptions import ConnectionClosed

from hub.protocol.events import AuthExpiring, ServerDraining
from hub.protocol.frames import Hello, ServerFrame, Unknown
from hub_client.credentials import Credential
from hub_client.errors import HubClientError, NotSignedIn, Stopped, Unreachable
from hub_client.reconnect import DRAIN_SPREAD_S, Advice, Backoff, advice
from hub_client.socket import Socket, open_socket, socket_url


class State(Enum):
    """What the connection is doing."""

    CONNECTING = "connecting"
    ONLINE = "online"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Status:
    """The connection's state, why, and, while waiting, in how many seconds it is tried again."""

    state: State
    reason: str = ""
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reactions:
    """What the link's owner does about what happens to it.

    `came_up` and `renew` run as tasks of the connection and end with it. `ended` is called once, with what can be told
    to whoever asks for something now, and with the error to be told to readers (None: this side closed).
    """

    frame: Callable[[ServerFrame | Unknown], None]
    came_up: Callable[[], Coroutine[None, None, None]]
    renew: Callable[[], Coroutine[None, None, None]]
    lost: Callable[[], None]
    ended: Callable[[HubClientError, HubClientError | None], None]
    status: Callable[[Status], None]


class _Over(Exception):
    """Ends the tasks of a connection that has ended."""


@dataclass(frozen=True, slots=True)
class _Live:
    socket: Socket
    tasks: asyncio.TaskGroup


class Link:
    """A connection that comes back. `settled` is set while there is one, and for ever once there will be none.

    `ended` is why there will be none any more; `hello` is the last one.
    """

    def __init__(self, url: str, credential: Credential, reactions: Reactions) -> None:
        self.url = socket_url(url)
        self.settled = asyncio.Event()
        self.ended: HubClientError | None = None
        self.hello: Hello | None = None
        self.status = Status(State.CONNECTING)
        self._credential = credential
        self._reactions = reactions
        self._backoff = Backoff()
        self._drain_spread_s = DRAIN_SPREAD_S
        self._credential_ended = False
        self._live: _Live | None = None

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._live is not None

    def start(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None] | None:
        """Do something as long as this connection lasts; without one, don't."""
        return self._live.tasks.create_task(work()) if self._live is not None else None

    async def send(self, text: str) -> None:
        """Send a frame if there is a connection. One that breaks meanwhile is told by `lost`."""
        if self._live is None:
            return
        try:
            await self._live.socket.send(text)
        except ConnectionClosed:
            return

    async def run(self) -> None:
        """Keep the connection until it ends for good or the task is cancelled."""
        try:
            while True:
                await self._connect_and_read()
        except (NotSignedIn, Stopped) as e:
            self._end(e, e)
        finally:
            self._end(Stopped("this client was closed"), None)

    async def _connect_and_read(self) -> None:
        self._report(Status(State.CONNECTING, self.status.reason))
        try:
            socket = await self._open()
        except Unreachable as e:
            await self._wait(Advice.AGAIN, str(e))
            return
        try:
            await self._serve(socket)
        finally:
            self._offline()
            await socket.close()
        what = advice(socket.close_code)
        if what is Advice.STOP:
            raise Stopped(socket.close_reason or "the hub ended the connection for good", socket.close_code)
        self._reactions.lost()
        self._credential_ended = what is Advice.WITH_NEW_CREDENTIAL
        await self._wait(what, socket.close_reason or "the connection broke")

    async def _open(self) -> Socket:
        if self._credential_ended:
            token = await self._credential.renew()
            self._credential_ended = False
        else:
            token = await self._credential.token()
        try:
            return await open_socket(self.url, token)
        except NotSignedIn:
            return await open_socket(self.url, await self._credential.renew())

    async def _serve(self, socket: Socket) -> None:
        self.hello = socket.hello
        self._drain_spread_s = DRAIN_SPREAD_S
        stopped: list[Stopped] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                self._live = _Live(socket, tasks)
                tasks.create_task(self._reactions.came_up(), name="came up")
                self.settled.set()
                self._report(Status(State.ONLINE))
                await self._read(socket, stopped)
                self._offline()
                _end_tasks()
        except* _Over:
            pass
        if stopped:
            raise stopped[0]

    async def _read(self, socket: Socket, stopped: list[Stopped]) -> None:
        try:
            async for frame in socket.frames():
                self._backoff.succeeded()
                if isinstance(frame, AuthExpiring):
                    self.start(self._reactions.renew)
                elif isinstance(frame, ServerDraining):
                    self._drain_spread_s = frame.data.reconnect_after_ms / 1000
                self._reactions.frame(frame)
        except Stopped as e:
            stopped.append(e)  # raised when the connection's tasks have ended: a group would wrap it

    def _offline(self) -> None:
        self._live = None  # first: nobody starts a task in a group that is ending
        self.settled.clear()

    async def _wait(self, what: Advice, reason: str) -> None:
        delay = self._backoff.delay(what, self._drain_spread_s)
        self._report(Status(State.WAITING, reason, delay))
        await asyncio.sleep(delay)

    def _report(self, status: Status) -> None:
        self.status = status
        self._reactions.status(status)

    def _end(self, error: HubClientError, told_readers: HubClientError | None) -> None:
        if self.ended is not None:
            return
        self.ended = error
        self._reactions.ended(error, told_readers)
        self._report(Status(State.ENDED, str(error)))
        self.settled.set()  # nobody waits for a connection that will not come


def _end_tasks() -> NoReturn:
    raise _Over
