"""Who watches a run of each of the agent servers, and judges what came."""

import asyncio
import json
import time
import urllib.request
import uuid
from abc import ABC, abstractmethod
from typing import Any

from loadtests.account import Account
from loadtests.bench.agents.talk import Talk
from loadtests.judge import script
from loadtests.watcher import Watcher
from loadtests.wire import Wire, upgrade

RUN_S = 600.0


class Watch(ABC):
    """One person in one new session, who says one thing and watches the run."""

    @abstractmethod
    async def connect(self) -> None:
        """Make the session and connect. Raises `OSError`, `TimeoutError`."""

    @abstractmethod
    async def run(self) -> None:
        """Say it and wait until the run has ended. Raises `TimeoutError`, `RuntimeError`."""

    @abstractmethod
    def wrong(self) -> str | None:
        """What is wrong with what came; None when every token did, in its place."""

    @abstractmethod
    def close(self) -> None:
        """Go."""


class HubWatch(Watch):
    def __init__(self, url: str, account: Account, talk: Talk) -> None:
        self._url, self._account, self._talk = url, account, talk
        self._watcher = Watcher()
        self._session = ""

    async def connect(self) -> None:
        await self._watcher.connect(self._url, await asyncio.to_thread(self._account.token))
        self._session = (await self._watcher.ask("session.create", team="scripted-autogen"))["id"]
        await self._watcher.join(self._session)

    async def run(self) -> None:
        run = await self._watcher.say(self._session, script(self._talk.tokens, 0, self._talk.turns))
        if not await self._watcher.finished(run, RUN_S):
            raise TimeoutError("the run did not end")

    def wrong(self) -> str | None:
        judge = self._watcher.judge
        if judge.anomalies:
            return str(dict(judge.anomalies))
        if (judge.completed, judge.tokens) != (self._talk.turns, self._talk.total) and judge.snapshots == 0:
            return f"{judge.completed} messages, {judge.tokens} tokens"
        return None

    def close(self) -> None:
        self._watcher.close()


class _SocketWatch(Watch):
    """What watchers of the others share. `said` is what was streamed, message by message."""

    def __init__(self, url: str, talk: Talk) -> None:
        self._url, self._talk = url, talk
        self.said: list[str] = []
        self._tokens = 0
        self._early = list[bytes]()
        self._failure = ""
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._wire: Wire | None = None

    async def _open(self, path: str) -> None:
        self._wire = await upgrade(self._url, path, (), self._hear)
        self._wire.closed.add_done_callback(lambda closed: self._fail(f"closed with {closed.result()}"))
        for payload in self._early:
            self._see(payload)
        async with asyncio.timeout(RUN_S):
            await self._ready.wait()

    def _hear(self, payload: bytes) -> None:
        if self._wire is None:  # it came with the handshake's answer
            self._early.append(payload)
        else:
            self._see(payload)

    async def _until_ended(self) -> None:
        async with asyncio.timeout(RUN_S):
            await self._ended.wait()
        if self._failure:
            raise RuntimeError(self._failure)

    def _fail(self, why: str) -> None:
        if not self._ended.is_set():
            self._failure = why
        self._ready.set()
        self._ended.set()

    def _send(self, text: str) -> None:
        assert self._wire is not None
        self._wire.send(text.encode())

    def _add(self, text: str) -> None:
        self.said[-1] += text
        self._tokens += 1

    def wrong(self) -> str | None:
        if self.said != self._talk.texts():
            return f"{len(self.said)} messages of {[len(text.split()) for text in self.said]} words"
        return None if self._tokens == self._talk.total else f"{self._tokens} tokens"

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    @abstractmethod
    def _see(self, payload: bytes) -> None: ...


class StudioWatch(_SocketWatch):
    async def connect(self) -> None:
        who = {"user_id": "guestuser@gmail.com"}  # whom it takes everybody for
        session = await asyncio.to_thread(self._post, "/api/sessions/", {**who, "name": uuid.uuid4().hex})
        run = await asyncio.to_thread(self._post, "/api/runs/", {**who, "session_id": session["data"]["id"]})
        await self._open(f"/api/ws/runs/{run['data']['run_id']}")
        self._in_message = False

    async def run(self) -> None:
        self._send(json.dumps({"type": "start", "task": "Talk.", "files": [], "team_config": self._talk.team()}))
        await self._until_ended()

    def _see(self, payload: bytes) -> None:
        frame = json.loads(payload)
        match frame["type"]:
            case "system":
                self._ready.set()
            case "message_chunk":
                if not self._in_message:
                    self.said.append("")
                    self._in_message = True
                self._add(frame["data"]["content"])
            case "message":
                self._in_message = False
            case "result":
                self._ended.set()
            case "completion" | "error":
                self._fail(str(frame)[:500])
            case _:
                pass

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


class ChainlitWatch(_SocketWatch):
    """Engine.IO and Socket.IO by hand: packets are `40`, `42[event, data]`, and `2` for a ping."""

    async def connect(self) -> None:
        self._asked = self._begun = False
        await self._open("/ws/socket.io/?EIO=4&transport=websocket")

    async def run(self) -> None:
        self._asked = True
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        message = {"id": str(uuid.uuid4()), "threadId": "", "name": "user", "type": "user_message", "output": "Talk."}
        self._event("client_message", {"message": {**message, "createdAt": now}, "fileReferences": []})
        await self._until_ended()

    def _event(self, *parts: Any) -> None:
        self._send("42" + json.dumps(parts))

    def _see(self, payload: bytes) -> None:
        match payload[:2]:
            case b"42":
                self._take(*json.loads(payload[2:]))
            case b"2":
                self._send("3")
            case b"40":
                self._event("connection_successful")
            case b"44":
                self._fail(payload.decode())
            case packet if packet[:1] == b"0":
                auth = {"sessionId": str(uuid.uuid4()), "clientType": "webapp", "userEnv": "{}"}
                self._send("40" + json.dumps(auth))
            case _:
                pass

    def _take(self, event: str, data: Any = None) -> None:
        match event:
            case "task_start":
                self._begun = True
            case "task_end" if self._asked:
                self._ended.set()
            case "task_end" if self._begun:  # what is done when a chat begins; one more comes before that
                self._ready.set()
            case "stream_start":
                self.said.append("")
                self._add(data["output"])
            case "stream_token":
                self._add(data["token"])
            case _:
                pass
