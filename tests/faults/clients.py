"""Clients that record what really came over the wire: writers that repeat what had no answer, followers that resume."""

import asyncio
import itertools
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.driver import NO_TLS
from tests.faults.history import History

Frame = dict[str, Any]
ANSWER_S = 10.0  # then nobody knows what came of a command
OPEN_S = 8.0
RETRY_S = 0.3
RETRYABLE = ("unavailable", "rate_limited", "busy")


class Lost(Exception):
    """The connection has ended, or the answer did not come in time: nobody knows what came of the command."""


class Client:
    """One user who stays connected, by whichever door works. `sessions` are followed from their beginning.

    `cursors` holds the last durable event seen of each; they outlive connections. `on_event` is told everything.
    `tokens` has the user's as it is now.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        history: History,
        doors: Sequence[str],
        user: str,
        tokens: Mapping[str, str],
        rng: random.Random,
        *,
        sessions: Sequence[str] = (),
        on_event: Callable[[Frame], None] | None = None,
    ) -> None:
        self.history = history
        self.doors = list(doors)
        self.user = user
        self._tokens = tokens
        self.cursors = dict.fromkeys(sessions, 0)
        self.connected = asyncio.Event()
        self.node = ""
        self.user_id = ""  # as the hub names this user
        self.reconnects: list[float] = []  # seconds from a loss to the next hello
        self.resumed: list[float] = []  # seconds from a loss until everything is joined again
        self.refused: list[str] = []  # codes of joins that failed, and of handshakes: 'HTTP 503'
        self.token_at: dict[str, float] = {}  # run → when this client last saw a piece of it
        self._rng = rng
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._answers: dict[str, asyncio.Future[Frame | None]] = {}
        self._joining: dict[str, str] = {}
        self._socket: ClientConnection | None = None
        self._name = ""
        self.paused = asyncio.Event()  # cleared: it reads nothing
        self.paused.set()
        self.retry_s = RETRY_S

    @property
    def whole(self) -> bool:
        """Whether it is connected and follows all it wants to."""
        return self.connected.is_set() and not self._joining

    async def run(self) -> None:
        """Connect, follow, read; again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        lost_at: float | None = None
        while True:
            door = self._rng.choice(self.doors)
            try:
                async with asyncio.timeout(OPEN_S):
                    socket = await connect(
                        door.replace("http", "ws", 1) + "/v1/ws",
                        additional_headers={"Authorization": f"Bearer {self._tokens[self.user]}"},
                        subprotocols=["hub.v1"],  # type: ignore[list-item]
                        proxy=None,
                        compression=None,
                        max_size=None,
                        ping_interval=4,
                        ping_timeout=4,  # half-open connections are noticed like this
                        open_timeout=OPEN_S,
                        close_timeout=0.5,
                    )
            except InvalidStatus as e:
                self.refused.append(f"HTTP {e.response.status_code}")
                await asyncio.sleep(self._rng.uniform(0.2, 1) * self.retry_s)
                continue
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(self._rng.uniform(0.2, 1) * self.retry_s)
                continue
            began = lost_at
            try:
                await self._follow(socket, began)
            except (OSError, WebSocketException, Lost):
                pass
            finally:
                lost_at = loop.time()
                self._gone(socket)
            await asyncio.sleep(self._rng.uniform(0.1, 1) * self.retry_s)

    async def _follow(self, socket: ClientConnection, lost_at: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._name = f"{self.user}#{next(self._numbers)}"
        self._socket = socket
        joins: set[str] = set()
        while True:
            await self.paused.wait()
            raw = await socket.recv()
            for line in (raw if isinstance(raw, str) else raw.decode()).split("\n"):
                frame: Frame = json.loads(line)
                match frame["type"]:
                    case "hello":
                        self.node = frame["node"]
                        self.history.add("open", c=self._name, user=self.user, node=self.node)
                        if lost_at is not None:
                            self.reconnects.append(loop.time() - lost_at)
                        self.user_id = frame["user"]["id"]
                        for session in self.cursors:
                            joins.add(await self.join(session))
                        self._greeted()
                        self.connected.set()
                    case "reply":
                        self._reply(frame)
                        joins.discard(frame["id"])
                        if lost_at is not None and not joins:
                            self.resumed.append(loop.time() - lost_at)
                            lost_at = None
                    case _:
                        self._event(frame)

    def _greeted(self) -> None:
        """The connection stands."""

    async def join(self, session: str) -> str:
        """Ask to follow a session from where this client is; gives the id of the command."""
        id_ = f"j{next(self._ids)}"
        self._joining[id_] = session
        after = self.cursors.setdefault(session, 0)
        self.history.add("join", c=self._name, session=session, after=after)
        await self._send({"id": id_, "type": "session.join", "session": session, "after_seq": after})
        return id_

    def _reply(self, frame: Frame) -> None:
        if (session := self._joining.pop(frame["id"], None)) is not None:
            if frame["ok"]:
                result = frame["result"]
                self.history.add(
                    "joined",
                    c=self._name,
                    session=session,
                    last_seq=result["last_seq"],
                    replay_from=result["replay_from"],
                )
            else:
                self.refused.append(frame["error"]["code"])
                self._drop()  # whatever it is, it is tried again on the next connection
            return
        answer = self._answers.pop(frame["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(frame)

    def _event(self, frame: Frame) -> None:
        if frame["type"] == "server.draining":
            return
        now = self.history.add("in", c=self._name, f=frame)
        if frame["type"] in ("message.delta", "message.snapshot"):
            self.token_at[frame["run"]] = now
        if "seq" in frame and frame["seq"] == self.cursors.get(frame["session"], -1) + 1:
            self.cursors[frame["session"]] = frame["seq"]
        if self._on_event is not None:
            self._on_event(frame)

    def _gone(self, socket: ClientConnection) -> None:
        self.connected.clear()
        self._socket = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)
        self._answers.clear()
        self._joining.clear()
        socket.transport.abort()
        self.history.add("gone", c=self._name, code=socket.close_code or 1006)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()

    async def _send(self, command: Frame) -> None:
        if self._socket is None:
            raise Lost("not connected")
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._socket.send(json.dumps(command))
        except (OSError, WebSocketException, TimeoutError) as e:
            raise Lost("could not be sent") from e

    async def ask(self, type_: str, *, timeout_s: float = ANSWER_S, **fields: Any) -> Frame:
        """Send a command; its whole reply. Raises `Lost`."""
        id_ = str(next(self._ids))
        answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
        self._answers[id_] = answer
        await self._send({"id": id_, "type": type_, **fields})
        try:
            async with asyncio.timeout(timeout_s):
                reply = await answer
        except TimeoutError as e:
            self._answers.pop(id_, None)
            self._drop()  # half-open connections look like this
            raise Lost("no answer in time") from e
        if reply is None:
            raise Lost("the connection ended")
        return reply

    async def send(self, session: str, text: str, *, give_up_s: float = 60.0, **fields: Any) -> Frame | None:
        """`message.send`, repeated with its client_id until there is a clear answer. None when there is none in time,
        or when it was refused."""
        op = client_id = uuid.UUID(int=self._rng.getrandbits(128)).hex
        loop = asyncio.get_running_loop()
        deadline = loop.time() + give_up_s
        while loop.time() < deadline:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.connected.wait()
            except TimeoutError:
                return None
            self.history.add("try", op=op, session=session, user=self.user, client_id=client_id, text=text)
            try:
                reply = await self.ask("message.send", session=session, text=text, client_id=client_id, **fields)
            except Lost as e:
                self.history.add("info", op=op, why=str(e))
            else:
                if reply["ok"]:
                    result: Frame = reply["result"]
                    self.history.add("ok", op=op, seq=result["seq"], message=result["message"], run=result["run"])
                    return result
                error = reply["error"]
                # Of `unavailable` nobody knows whether it was committed.
                if error["code"] in ("unavailable", "internal"):
                    self.history.add("info", op=op, why=error["code"], retryable=error["retryable"])
                else:
                    self.history.add("fail", op=op, code=error["code"], retryable=error["retryable"])
                    if error["code"] not in RETRYABLE:
                        return None
            await asyncio.sleep(self._rng.uniform(0.3, 1) * self.retry_s)
        return None


class RestReader:
    """Reads logs by REST, from whichever door works."""

    def __init__(
        self, history: History, doors: Sequence[str], user: str, tokens: Mapping[str, str], rng: random.Random
    ) -> None:
        self._history = history
        self._doors = list(doors)
        self._user = user
        self._tokens = tokens
        self._rng = rng
        self.times: list[float] = []  # that the hub took for each answer, or that were waited in vain

    async def read(self, session: str) -> int | None:
        """Read the end of the log; its last seq. None when the hub could not answer."""
        op = uuid.UUID(int=self._rng.getrandbits(128)).hex
        headers = {"Authorization": f"Bearer {self._tokens[self._user]}"}
        self._history.add("read", op=op, session=session)
        try:
            async with httpx2.AsyncClient(
                base_url=self._rng.choice(self._doors), verify=NO_TLS, headers=headers, timeout=ANSWER_S
            ) as rest:
                answer = await self._get(rest, session, after_seq=0, limit=1)
                if answer.status_code != httpx2.codes.OK:
                    return None
                last_seq: int = answer.json()["last_seq"]
                after = max(0, last_seq - 20)
                answer = await self._get(rest, session, after_seq=after, limit=100)
                if answer.status_code != httpx2.codes.OK:
                    return None
        except httpx2.HTTPError:
            return None
        page = answer.json()
        self._history.add("read.ok", op=op, last_seq=page["last_seq"], items=page["items"])
        return last_seq

    async def _get(self, rest: httpx2.AsyncClient, session: str, **params: int) -> httpx2.Response:
        began = time.monotonic()
        try:
            return await rest.get(f"/v1/sessions/{session}/events", params=params)
        finally:
            self.times.append(time.monotonic() - began)
