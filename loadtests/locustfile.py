"""Locust users that speak hub.v1 over a real WebSocket and judge all they see.

    locust -f loadtests/locustfile.py --headless -H http://127.0.0.1:8000 -u 100 -r 10 -t 60s \
        --csv loadtests/results/run --html loadtests/results/run.html

Their own metrics beside Locust's: first token, token delivery, resume. Locust rounds times it stores, so percentiles
of these come from all values, printed at the end. Any anomaly (gap, duplicate, wrong text, lost connection) makes the
run fail. A hub that is not this machine's: delivery compares clocks and means nothing.
"""

import json
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import websocket
from locust import User, between, events, task
from locust.env import Environment

from loadtests.account import Account
from loadtests.judge import Frame, Judge, script
from loadtests.measure import milliseconds

TOKENS, RATE = 40, 20.0
ANSWER_S = 60.0


class Tally:
    """What all users of this process measured, in seconds, and every anomaly, by kind."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.anomalies: dict[str, int] = defaultdict(int)


class Kept:
    """What the users of one environment share."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.tally = Tally()


def _kept(environment: Environment) -> Kept:
    kept: Kept = vars(environment)["hub_kept"]
    return kept


class HubUser(User):
    """Has a session, and now and then something to say; sometimes loses the connection while the agents write."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        kept = _kept(self.environment)
        self._tally, self._account = kept.tally, kept.account
        self._judge = Judge()
        self._number = 0
        self._connect()
        self._session = self._ask("session.create", team="scripted")["id"]
        self._ask("session.join", session=self._session, after_seq=0)

    def on_stop(self) -> None:
        self._socket.close()

    @task(8)
    def turn(self) -> None:
        """Say something and follow the answer to its end."""
        run = self._say()
        self._follow(run)

    @task(2)
    def resume(self) -> None:
        """The same with a connection that breaks in the middle: nothing may be missing, nothing come twice."""
        run = self._say()
        for frame in self._frames:
            self._see(frame)
            if frame["type"] == "message.delta" and frame["data"]["index"] > TOKENS // 3:
                break
        self._socket.shutdown()  # type: ignore[no-untyped-call]
        started = time.perf_counter()
        self._connect()
        self._judge.reconnected()
        self._ask("session.join", session=self._session, after_seq=self._judge.seq)
        self._fire("resume", time.perf_counter() - started)
        self._follow(run)

    # ---- parts

    def _connect(self) -> None:
        started = time.perf_counter()
        self._socket = websocket.create_connection(
            (self.host or "").replace("http", "ws", 1) + "/v1/ws",
            timeout=ANSWER_S,
            subprotocols=["hub.v1"],
            header=[f"Authorization: Bearer {self._account.token()}"],
        )
        self._frames = self._receive()
        assert next(self._frames)["type"] == "hello"
        self._fire("connect", time.perf_counter() - started)

    def _receive(self) -> Iterator[Frame]:
        while True:
            for line in _text(self._socket.recv()).split("\n"):
                yield json.loads(line)

    def _send(self, type_: str, **fields: Any) -> str:
        self._number += 1
        self._socket.send(json.dumps({"id": str(self._number), "type": type_, **fields}))
        return str(self._number)

    def _ask(self, type_: str, **fields: Any) -> Frame:
        number = self._send(type_, **fields)
        for frame in self._frames:
            if frame["type"] == "reply" and frame["id"] == number:
                if not frame["ok"]:
                    raise RuntimeError(f"{type_}: {frame['error']['code']}")
                result: Frame = frame["result"]
                return result
            self._see(frame)
        raise AssertionError("the frames never end")

    def _say(self) -> str:
        self._said_at = time.perf_counter()
        self._waiting_for_first = True
        sent = self._ask("message.send", session=self._session, text=script(TOKENS, RATE), client_id=uuid.uuid4().hex)
        self._fire("ack", time.perf_counter() - self._said_at)
        run: str = sent["run"]
        return run

    def _follow(self, run: str) -> None:
        while run not in self._judge.finished:
            self._see(next(self._frames))
        self._fire("turn", time.perf_counter() - self._said_at)

    def _see(self, frame: Frame) -> None:
        if frame["type"] == "auth.expiring":
            self._send("auth", token=self._account.token())
        if frame.get("session") is None:
            return
        self._judge.see(frame)
        if frame["type"] == "message.delta":
            self._fire("delivery", self._judge.lags.pop())
            if self._waiting_for_first:
                self._waiting_for_first = False
                self._fire("first token", time.perf_counter() - self._said_at)
        for kind, count in self._judge.anomalies.items():
            self._tally.anomalies[kind] += count
            self._fire("exactness", 0, AssertionError(kind))
        self._judge.anomalies.clear()

    def _fire(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self._tally.seconds[name].append(seconds)
        self.environment.events.request.fire(
            request_type="hub.v1",
            name=name,
            response_time=seconds * 1e3,
            response_length=0,
            exception=error,
            context={},
        )


def _text(payload: str | bytes) -> str:
    return payload if isinstance(payload, str) else payload.decode()


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _sign_in(environment: Environment, **_: Any) -> None:
    account = Account(environment.host or "", os.environ.get("HUB_LOAD_NAME"), os.environ.get("HUB_LOAD_PASSWORD"))
    account.token()  # now, and not in the first user's first second
    vars(environment)["hub_kept"] = Kept(account)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _verdict(environment: Environment, **_: Any) -> None:
    tally = _kept(environment).tally
    for name, values in sorted(tally.seconds.items()):
        print(
            f"{name:<12} {len(values):>8} times  " + "  ".join(f"{k} {v} ms" for k, v in milliseconds(values).items())
        )
    print("anomalies    " + (", ".join(f"{kind}: {count}" for kind, count in tally.anomalies.items()) or "none"))
    if tally.anomalies or environment.stats.total.num_failures:
        environment.process_exit_code = 1
