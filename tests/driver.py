"""A test language for sockets: connect as somebody, ask a command, expect an event. Every wait has a deadline and tells
what was seen when it fails."""

import asyncio
import itertools
import json
import ssl
import uuid
from collections import deque
from types import TracebackType
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

Frame = dict[str, Any]
DEADLINE_S = 40.0  # nothing takes so long but what does not come, also on a machine that has much else to do
PASSWORD = "correct horse battery staple"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else every client reads all certificates, for 20 ms


class Refused(Exception):
    """A command was answered with an error."""

    def __init__(self, error: Frame) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.error = error


class Person:
    """One connection of one user. Frames are kept in the order they came; replies are matched to their commands."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket = socket
        self.token = token
        self.seen: list[Frame] = []
        self._unread: deque[Frame] = deque()
        self._ids = itertools.count(1)
        self._receiving = asyncio.Lock()
        self.hello: Frame = {}

    async def __aenter__(self) -> "Person":
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.socket.close()

    async def ask(self, type_: str, **fields: Any) -> Frame:
        """Send a command and give its result; raises `Refused`. Events that come before the reply stay readable."""
        id_ = await self.tell(type_, **fields)
        reply = await self._take(lambda f: f.get("type") == "reply" and f.get("id") == id_, f"reply to {type_}")
        if not reply["ok"]:
            raise Refused(reply["error"])
        result: Frame = reply["result"]
        return result

    async def tell(self, type_: str, **fields: Any) -> str:
        """Send a command without waiting for its reply; gives its id."""
        id_ = str(next(self._ids))
        await self.socket.send(json.dumps({"id": id_, "type": type_, **fields}))
        return id_

    async def expect(self, type_: str, **data: Any) -> Frame:
        """The next event of this type whose data has these values; earlier other frames stay readable."""

        def fits(frame: Frame) -> bool:
            return frame.get("type") == type_ and all(frame["data"].get(k) == v for k, v in data.items())

        return await self._take(fits, f"{type_} {data or ''}")

    async def until(self, type_: str, **data: Any) -> list[Frame]:
        """All frames up to and with the next event of this type, in order; they are read then."""
        found: list[Frame] = []
        while True:
            frame = await self.next_frame(f"{type_} {data or ''}")
            found.append(frame)
            if frame.get("type") == type_ and all(frame["data"].get(k) == v for k, v in data.items()):
                return found

    async def next_frame(self, what: str = "a frame") -> Frame:
        """The next frame, whatever it is."""
        if not self._unread:
            await self._receive(what, asyncio.get_running_loop().time() + DEADLINE_S)
        return self._unread.popleft()

    async def say(self, session: str, text: str, **fields: Any) -> Frame:
        """`message.send` with a fresh client_id."""
        fields.setdefault("client_id", uuid.uuid4().hex)
        return await self.ask("message.send", session=session, text=text, **fields)

    async def closed(self) -> int:
        """Wait for the hub to close the connection; gives the close code."""
        async with asyncio.timeout(DEADLINE_S):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def _take(self, fits: Any, what: str) -> Frame:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            for number, frame in enumerate(self._unread):
                if fits(frame):
                    del self._unread[number]
                    return frame
            await self._receive(what, deadline)

    async def _receive(self, what: str, deadline: float) -> None:
        seen_before = len(self.seen)
        try:
            async with asyncio.timeout_at(deadline), self._receiving:
                if len(self.seen) > seen_before:  # somebody else received while we waited for our turn
                    return
                raw = await self.socket.recv()
        except TimeoutError:
            seen = "\n".join(json.dumps(frame)[:220] for frame in self.seen[-12:])
            raise AssertionError(f"waited {DEADLINE_S} s for {what}; the last frames were:\n{seen}") from None
        for line in raw.split("\n") if isinstance(raw, str) else raw.decode().split("\n"):
            frame = json.loads(line)
            self.seen.append(frame)
            self._unread.append(frame)


class Door:
    """The outside of one hub process (or of one worker in a test): its address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ws_url = url.replace("http", "ws", 1) + "/v1/ws"

    def rest(self, token: str | None = None) -> httpx2.AsyncClient:
        """A REST client, as this user."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=DEADLINE_S, verify=NO_TLS)

    async def register(self, name: str) -> str:
        """A new user; gives an access token."""
        async with self.rest() as rest:
            account = {"name": name, "password": PASSWORD}
            made = await rest.post("/v1/auth/register", json=account)
            if made.status_code == 503:  # the machine is too busy for the hub's deadlines, and it may have been made
                made = await _answered(rest, "/v1/auth/register", json=account)
                assert made.status_code in (201, 409), made.text
            else:
                assert made.status_code == 201, made.text
            return await self.sign_in(name)

    async def sign_in(self, name: str) -> str:
        """An access token for a user of `register`."""
        async with self.rest() as rest:
            form = {"grant_type": "password", "username": name, "password": PASSWORD}
            answer = await _answered(rest, "/v1/auth/token", data=form)
            assert answer.status_code == 200, answer.text
            token: str = answer.json()["access_token"]
            return token

    async def enter(self, token: str) -> Person:
        """Connect with this token and read the hello."""
        socket = await connect(
            self.ws_url,
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=["hub.v1"],  # type: ignore[list-item]
            proxy=None,
            compression=None,
            max_size=None,
            open_timeout=DEADLINE_S,
        )
        person = Person(socket, token)
        person.hello = await person.next_frame("hello")
        assert person.hello["type"] == "hello"
        return person

    async def person(self, name: str | None = None) -> Person:
        """A new user, registered and connected."""
        return await self.enter(await self.register(name or f"user-{uuid.uuid4().hex[:12]}"))


async def _answered(rest: httpx2.AsyncClient, path: str, **given: Any) -> httpx2.Response:
    """What a hub answers that is asked again, as it says, when the machine is too busy for its deadlines."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while (answer := await rest.post(path, **given)).status_code == 503:
        assert asyncio.get_running_loop().time() < deadline, answer.text
        await asyncio.sleep(answer.json()["retry_after"])
    return answer


def seqs(frames: list[Frame]) -> list[int]:
    """The seqs of the durable events among these frames."""
    return [frame["seq"] for frame in frames if "seq" in frame]


def streamed(frames: list[Frame], message: str) -> str:
    """The text of a message as its deltas told it."""
    return "".join(
        f["data"]["text"] for f in frames if f["type"] == "message.delta" and f["data"]["message"] == message
    )
