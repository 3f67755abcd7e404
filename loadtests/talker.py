"""A Locust user with a WebSocket: commands, what it sees, judged; breaks and comes back."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import gevent
import websocket
from locust import User
from locust.exception import StopUser

from loadtests.account import Account
from loadtests.judge import Frame, Judge
from loadtests.stage import stage_of

ANSWER_S = 60.0
DRAINING = (1012, 4000)


class Refused(Exception):
    """A command was answered with an error; `code` is the protocol's."""

    def __init__(self, type_: str, error: Frame) -> None:
        super().__init__(f"{type_}: {error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.retry_after: float = error.get("retry_after") or 1.0


class Talker(User):
    """Connects with a bearer token and follows one session. Every time goes to the tally, the rarer ones to Locust too:
    an event of Locust's per token would measure Locust."""

    abstract = True
    allowed: frozenset[str] = frozenset()  # what the judge complains about and this user has asked for
    session: str

    def on_start(self) -> None:
        stage = stage_of(self.environment)
        self.tally = stage.tally
        self.account: Account = stage.account()
        self.judge = Judge()
        self._number = 0
        self._said_at = self._previous = self._slowest = 0.0
        self._first_waits = False
        self.connect()

    def on_stop(self) -> None:
        self._socket.close()

    # ---- the connection

    def credential(self) -> dict[str, Any]:
        """How to authenticate: options of websocket-client."""
        return {"header": [f"Authorization: Bearer {self.account.token()}"]}

    def address(self) -> str:
        """Where to connect."""
        return (self.host or "").replace("http", "ws", 1) + "/v1/ws"

    def connect(self) -> None:
        """Connect and wait for the hello."""
        address, credential = self.address(), self.credential()
        started = time.perf_counter()
        self._socket = websocket.create_connection(address, timeout=ANSWER_S, subprotocols=["hub.v1"], **credential)
        self._frames = self._receive()
        assert next(self._frames)["type"] == "hello"
        self.fire("connect", time.perf_counter() - started)
        self.tally.ledger["connections"] += 1

    def reconnect(self) -> None:
        """Lose the connection as a phone does in a tunnel, come back, resume."""
        self._socket.shutdown()  # type: ignore[no-untyped-call]
        started = time.perf_counter()
        self.connect()
        self.judge.reconnected()
        self._previous = 0.0
        self.ask("session.join", session=self.session, after_seq=self.judge.seq)
        self.fire("resume", time.perf_counter() - started)
        self.tally.ledger["resumed"] += 1

    def follow(self, session: str) -> int:
        """Follow a session from its beginning; the seq it has come to."""
        self.judge = Judge()
        self.session = session
        self._previous = 0.0
        last_seq: int = self.ask("session.join", session=session, after_seq=0)["last_seq"]
        return last_seq

    # ---- commands

    def ask(self, type_: str, **fields: Any) -> Frame:
        """Send a command; its result. Waits and repeats when the hub says `rate_limited`. Raises `Refused`."""
        while True:
            try:
                return self._ask(type_, fields)
            except Refused as refused:
                if refused.code != "rate_limited":
                    raise
                self.tally.ledger["rate limited"] += 1
                gevent.sleep(refused.retry_after)

    def say(self, text: str, client_id: str | None = None) -> str:
        """Send a message; the run it started."""
        self._said_at = time.perf_counter()
        self._first_waits = True
        self._previous = self._slowest = 0.0
        self.tally.ledger["sent"] += 1
        sent = self.ask("message.send", session=self.session, text=text, client_id=client_id or uuid.uuid4().hex)
        self.fire("ack", time.perf_counter() - self._said_at)
        self.tally.ledger["acked"] += 1
        run: str = sent["run"]
        return run

    def see_until(self, run: str, token: int | None = None) -> None:
        """See frames until the run has ended or, when asked, some message of it has come past this token."""
        for frame in self._frames if run not in self.judge.finished else ():
            self._see(frame)
            if run in self.judge.finished:
                break
            if token is not None and frame["type"] == "message.delta" and frame["data"]["index"] > token:
                return
        self.fire("turns", time.perf_counter() - self._said_at)
        if self._slowest:
            self.fire("slowest token", self._slowest)

    def see_next(self) -> Frame:
        """The next frame, whatever it is."""
        frame = next(self._frames)
        self._see(frame)
        return frame

    # ---- what is seen

    def fire(self, name: str, seconds: float, error: Exception | None = None) -> None:
        """Note a time, here and at Locust."""
        self.tally.times[name].add(seconds)
        self.environment.events.request.fire(
            request_type="hub.v1",
            name=name,
            response_time=seconds * 1e3,
            response_length=0,
            exception=error,
            context={},
        )

    def anomaly(self, kind: str, count: int = 1) -> None:
        """Note what must never happen."""
        self.tally.anomalies[kind] += count
        self.fire("exactness", 0, AssertionError(kind))

    def _receive(self) -> Iterator[Frame]:
        while True:
            opcode, payload = self._socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self._closed(int.from_bytes(payload[:2], "big") or 1005)
            for line in payload.split(b"\n"):
                yield json.loads(line)

    def _closed(self, code: int) -> NoReturn:
        """The hub ends the connection: its right when it drains, else an anomaly. This user goes."""
        if code in DRAINING:
            self.tally.ledger[f"closed with {code}"] += 1
        else:
            self.anomaly(f"closed with {code}")
        raise StopUser

    def _send(self, type_: str, **fields: Any) -> str:
        self._number += 1
        self._socket.send(json.dumps({"id": str(self._number), "type": type_, **fields}))
        return str(self._number)

    def _ask(self, type_: str, fields: Frame) -> Frame:
        number = self._send(type_, **fields)
        for frame in self._frames:
            if frame["type"] == "reply" and frame["id"] == number:
                if not frame["ok"]:
                    raise Refused(type_, frame["error"])
                result: Frame = frame["result"]
                return result
            self._see(frame)
        raise AssertionError("the frames never end")

    def _see(self, frame: Frame) -> None:
        if frame["type"] == "auth.expiring":
            self._send("auth", token=self.account.token())
        if frame.get("session") is None:
            return
        self.judge.see(frame)
        if "seq" in frame:
            self.tally.ledger["events"] += 1
        elif frame["type"] == "message.delta":
            self._token(frame)
        elif frame["type"] in ("message.snapshot", "resync"):
            self.tally.ledger[frame["type"]] += 1
        for kind, count in self.judge.anomalies.items():
            if kind in self.allowed:
                self.tally.ledger[kind] += count
            else:
                self.anomaly(kind, count)
        self.judge.anomalies.clear()

    def _token(self, frame: Frame) -> None:
        now, lag = time.perf_counter(), self.judge.lags.pop()
        self.tally.times["token"].add(lag)
        self.tally.ledger["tokens"] += frame["data"].get("n", 1)
        self._slowest = max(self._slowest, lag)
        if self._first_waits:
            self._first_waits = False
            self.fire("first token", now - self._said_at)
        elif frame["data"]["index"] and self._previous:
            self.tally.times["inter-token"].add(now - self._previous)
        self._previous = now
