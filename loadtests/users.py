"""The kinds of users. Each judges what it sees; what each does is in its docstring."""

import random
import time
import uuid
from collections import Counter
from typing import Any, ClassVar

import gevent
from locust import HttpUser, between, constant, task

from loadtests.account import Account
from loadtests.judge import script
from loadtests.stage import Show, stage_of
from loadtests.talker import Talker

TOKENS, RATE = 40, 20.0
PAGE = 500


class Chatter(Talker):
    """A person: has a session of its own, says something now and then and reads the answer. At the end it looks whether
    everything the hub has acknowledged is in the log, once."""

    wait_time = between(0.5, 2)
    shown = True  # to viewers

    def on_start(self) -> None:
        super().on_start()
        self.sent: set[str] = set()
        self.follow(self.ask("session.create", team="scripted")["id"])
        if self.shown:
            stage_of(self.environment).shows.append(Show(self.session, self.account))

    def on_stop(self) -> None:
        if hasattr(self, "session"):
            self._look_into_the_log()
        super().on_stop()

    @task
    def turn(self) -> None:
        """Say something and follow the answer to its end."""
        self.see_until(self._say(TOKENS))

    def _say(self, tokens: int) -> str:
        client_id = uuid.uuid4().hex
        run = self.say(script(tokens, RATE), client_id)
        self.sent.add(client_id)
        return run

    def _look_into_the_log(self) -> None:
        seq, found = 0, Counter[str]()
        while True:
            page = self.account.get(f"/v1/sessions/{self.session}/events?after_seq={seq}&limit={PAGE}")
            for event in page["items"]:
                if event["type"] == "message.created":
                    found[event["data"]["client_id"]] += 1
            if not page["items"]:
                break
            seq = page["items"][-1]["seq"]
        for kind, count in (
            ("acknowledged and lost", len(self.sent - found.keys())),
            ("in the log twice", sum(n > 1 for n in found.values())),
        ):
            if count:
                self.anomaly(kind, count)


class Mobile(Chatter):
    """A person on a train: browser-like, with a ticket; loses the connection in the middle of most answers."""

    def credential(self) -> dict[str, Any]:
        return {}

    def address(self) -> str:
        return f"{super().address()}?ticket={self.account.post('/v1/auth/tickets')['ticket']}"

    @task
    def turn(self) -> None:
        """Say something; come back as often as it takes."""
        run = self._say(TOKENS)
        for _ in range(random.randrange(3)):
            self.see_until(run, token=random.randrange(TOKENS))
            if run in self.judge.finished:
                return
            self.reconnect()
        self.see_until(run)


class Bot(Chatter):
    """A program with an API key: short turns without a pause, a second copy of one message in five, a stop of one run
    in ten."""

    wait_time = constant(0.2)
    allowed = frozenset({"run cancelled"})

    shown = False  # its runs are stopped: not what a viewer expects

    def on_start(self) -> None:
        self._key = ""
        super().on_start()

    def credential(self) -> dict[str, Any]:
        if not self._key:
            made = self.account.post("/v1/api-keys", {"name": f"load-{uuid.uuid4().hex[:8]}"})
            self._key = made["key"]
        return {"header": [f"Authorization: Bearer {self._key}"]}

    @task(7)
    def turn(self) -> None:
        """A short answer, as fast as it comes."""
        self.see_until(self._say(10))

    @task(2)
    def twice(self) -> None:
        """The same message again, as after a lost answer: the same run, nothing new."""
        client_id, text = uuid.uuid4().hex, script(5, 0)
        run = self.say(text, client_id)
        self.sent.add(client_id)
        if self.say(text, client_id) != run:
            self.anomaly("a repeated message began another run")
        self.see_until(run)

    @task(1)
    def halt(self) -> None:
        """Stop it in the middle."""
        run = self._say(200)
        self.see_until(run, token=3)
        if run not in self.judge.finished:
            started = time.perf_counter()
            self.ask("run.cancel", session=self.session)
            self.see_until(run)
            self.fire("stop", time.perf_counter() - started)


class Viewer(Talker):
    """Watches somebody's session from its beginning for some messages, then another one's."""

    wait_time = constant(0)

    @task
    def watch(self) -> None:
        """Join, see some messages, leave."""
        show = stage_of(self.environment).show()
        if show is None:
            gevent.sleep(0.5)
            return
        if show.account is not self.account:
            self.account = show.account
            self._socket.close()
            self.connect()
        started = time.perf_counter()
        last_seq = self.follow(show.session)
        self.fire("join", time.perf_counter() - started)
        while self.judge.seq < last_seq:
            self.see_next()
        seen, until = self.judge.completed + 4, time.monotonic() + 20
        while self.judge.completed < seen and time.monotonic() < until:
            self.see_next()
        self.ask("session.leave", session=self.session)


class SignIn(HttpUser):
    """Signs in, asks who it is, renews, signs out: a login storm when there are many. Being told to wait is an answer,
    and it waits."""

    wait_time = constant(0.1)

    def on_start(self) -> None:
        self._account: Account = stage_of(self.environment).account()
        self._account.token()

    @task
    def come_and_go(self) -> None:
        """One visit."""
        answer = self._post("/v1/auth/token", data=self._account.form())
        if answer is None:
            return
        head = {"Authorization": f"Bearer {answer['access_token']}"}
        self.client.get("/v1/me", headers=head)
        renewal = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        answer = self._post("/v1/auth/token", data=renewal, name="/v1/auth/token (refresh)")
        if answer is not None:
            self.client.post("/v1/auth/revoke", headers={"Authorization": f"Bearer {answer['access_token']}"})

    def _post(self, path: str, **options: Any) -> dict[str, Any] | None:
        with self.client.post(path, catch_response=True, **options) as answer:
            if answer.status_code == 429:
                stage_of(self.environment).tally.ledger["sign-ins told to wait"] += 1
                answer.success()
                gevent.sleep(float(answer.headers.get("Retry-After", 1)))
                return None
            answer.raise_for_status()
            told: dict[str, Any] = answer.json()
            return told


class Reader(HttpUser):
    """Reads over REST what others write: lists, logs, transcripts, search."""

    wait_time = constant(0.1)
    READS: ClassVar[dict[str, str]] = {
        "events": "/v1/sessions/{session}/events?limit=100",
        "transcript": "/v1/sessions/{session}/transcript",
        "session": "/v1/sessions/{session}",
        "sessions": "/v1/sessions?limit=50",
        "teams": "/v1/teams",
        "search": "/v1/search?q=t1.7",
    }

    @task
    def read(self) -> None:
        """One of them."""
        show = stage_of(self.environment).show()
        if show is None:
            gevent.sleep(0.5)
            return
        name, path = random.choice(list(self.READS.items()))
        head = {"Authorization": f"Bearer {show.account.token()}"}
        started = time.perf_counter()
        answer = self.client.get(path.format(session=show.session), headers=head, name=f"read {name}")
        if answer.ok:
            stage_of(self.environment).tally.times["read"].add(time.perf_counter() - started)
