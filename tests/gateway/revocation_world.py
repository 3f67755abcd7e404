"""Two `hub serve` and the people on their sockets, for tests of how rights end: when each right was there, by the
acknowledgement of what gave and took it, and everything that came and was taken on each socket, by one clock.

The workers are processes of their own, and the sockets are in a thread: a state machine that draws may sit in front.
"""

import asyncio
import base64
import json
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.domain.session import Role
from hub.embedded.valkey import EmbeddedValkey
from tests.conftest import Cluster, short_dir
from tests.driver import PASSWORD, Door, Frame
from tests.hostile import claims, hs256
from tests.process.serving import serving

T = TypeVar("T")
Span = tuple[float, float]

PROMISED_S = 5.0
SECRET = "0123456789abcdef0123456789abcdef"
EVER = float("inf")
PACE_S = 0.2  # between two commands of one socket
TALK_S = 0.3  # between two messages of the owner

COMMANDS: tuple[tuple[str, Role, dict[str, str]], ...] = (
    ("presence.set", Role.VIEWER, {"status": "active"}),
    ("input.respond", Role.APPROVER, {"request": str(uuid.uuid4()), "decision": "approve"}),
    ("message.send", Role.EDITOR, {"text": "/script turns=1 tokens=1"}),
)


class Right:
    """When something was so: a span begins when it was asked for, and ends when its end was acknowledged."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @property
    def there(self) -> bool:
        return bool(self.spans) and self.spans[-1][1] == EVER

    def begin(self, at: float) -> None:
        if not self.there:
            self.spans.append((at, EVER))

    def end(self, at: float) -> None:
        if self.there:
            self.spans[-1] = (self.spans[-1][0], at)


def both(some: list[Span], others: list[Span]) -> list[Span]:
    """When two things were so at once."""
    return [(max(a, c), min(b, d)) for a, b in some for c, d in others if max(a, c) < min(b, d)]


@dataclass
class Credential:
    """What somebody connects with; `hard_end` when it ends by the clock."""

    kind: str
    secret: str
    id: str = ""
    hard_end: float = EVER
    right: Right = field(default_factory=Right)

    def spans(self) -> list[Span]:
        return both(self.right.spans, [(0, self.hard_end)])

    @property
    def there(self) -> bool:
        return self.right.there and self.hard_end == EVER


@dataclass
class User:
    name: str
    id: str
    signed_in: Credential
    version: int = 1
    active: Right = field(default_factory=Right)
    credentials: list[Credential] = field(default_factory=list)
    roles: dict[str, dict[Role, Right]] = field(default_factory=dict)

    def role(self, session: str) -> Role | None:
        """The present one."""
        return next((role for role in Role if self.roles[session][role].there), None)

    def token(self, *, life_s: float = 3600) -> tuple[str, float]:
        """An access token of no sign-in, and when it ends."""
        ends = int(time.time() + life_s)
        head = {"alg": "HS256", "typ": "at+jwt", "kid": "test"}
        made = hs256(head, claims(self.id, exp=ends, ver=self.version), SECRET.encode())
        return made, time.monotonic() + ends - time.time()


@dataclass
class Sent:
    """A command that was sent; `taken` when the answer said that the caller may do it."""

    type: str
    role: Role
    session: str
    at: float
    taken: float | None = None


class Socket:
    """One connection: which credential counts on it when, and what came and was taken."""

    def __init__(self, user: User, credential: Credential, connection: ClientConnection) -> None:
        self.user = user
        self.connection = connection
        self.shown: list[tuple[Credential, Span]] = [(credential, (0, EVER))]
        self.delivered: list[tuple[float, str, str]] = []
        self.sent: dict[str, Sent] = {}
        self.replies: dict[str, asyncio.Future[Frame]] = {}
        self.closed_at: float | None = None
        self.close_code: int | None = None
        self._number = 0

    @property
    def credential(self) -> Credential:
        return self.shown[-1][0]

    @property
    def served(self) -> bool:
        """Whether something came, and something was taken."""
        return bool(self.delivered) and any(sent.taken is not None for sent in self.sent.values())

    def spans(self) -> list[Span]:
        """When somebody was there to be served."""
        shown = [span for credential, when in self.shown for span in both(credential.spans(), [when])]
        return both(shown, self.user.active.spans)

    async def ask(self, type_: str, **fields: Any) -> Frame:
        """The reply."""
        self._number += 1
        id_ = f"q{self._number}"
        self.replies[id_] = asyncio.get_running_loop().create_future()
        await self.connection.send(json.dumps({"id": id_, "type": type_, **fields}))
        async with asyncio.timeout(30):
            return await self.replies[id_]

    async def listen(self) -> None:
        """Note everything until the connection closes."""
        try:
            while True:
                for line in str(await self.connection.recv()).split("\n"):
                    self._note(json.loads(line), time.monotonic())
        except ConnectionClosed as closed:
            self.closed_at = time.monotonic()
            self.close_code = closed.rcvd.code if closed.rcvd is not None else None
            for reply in self.replies.values():
                if not reply.done():
                    reply.set_result({"ok": False, "error": {"code": "closed"}})

    def _note(self, frame: Frame, now: float) -> None:
        if "session" in frame:
            self.delivered.append((now, frame["session"], frame["type"]))
        if frame["type"] != "reply":
            return
        if (reply := self.replies.get(frame["id"])) is not None:
            reply.set_result(frame)
        # `not_found` for the request, after the role was looked at, which says `forbidden`.
        elif frame["ok"] or frame["error"]["message"] == "no such request":
            self.sent[frame["id"]].taken = now

    async def pester(self) -> None:
        """Ask for everything, again and again."""
        with suppress(ConnectionClosed):
            while True:
                for session in self.user.roles:
                    for type_, role, fields in COMMANDS:
                        self._number += 1
                        id_ = str(self._number)
                        self.sent[id_] = Sent(type_, role, session, time.monotonic())
                        command = {"id": id_, "type": type_, "session": session, **fields}
                        if type_ == "message.send":
                            command["client_id"] = uuid.uuid4().hex
                        await self.connection.send(json.dumps(command))
                        await asyncio.sleep(PACE_S)  # the pace of the client


class Clients:
    """A thread with an event loop, and how late it ever was, or a worker that was asked whether it lives: what is seen
    late because of a busy machine is not the hub's."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lag_s = 0.0
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._watching = [self.run(self._begin(self._watch()))]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)

    def close(self) -> None:
        self.run(self._end_watching())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def watch(self, door: Door) -> None:
        """Note from now on, too, how late this worker answers what needs nothing but its event loop."""
        self._watching.append(self.run(self._begin(self._watch_worker(door))))

    async def _begin(self, watching: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(watching)

    async def _end_watching(self) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.wait(self._watching)

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.lag_s = max(self.lag_s, time.monotonic() - before - 0.05)

    async def _watch_worker(self, door: Door) -> None:
        async with door.rest() as rest:
            while True:
                before = time.monotonic()
                with suppress(httpx2.HTTPError):
                    await rest.get("/healthz")
                self.lag_s = max(self.lag_s, time.monotonic() - before)
                await asyncio.sleep(0.25)


@dataclass
class World:
    """Two hubs on one database and one Redis, which can be taken away."""

    clients: Clients
    doors: list[Door]
    valkey: EmbeddedValkey
    admin: str
    redis: bool = True

    def take_redis(self) -> None:
        self.valkey.stop()
        self.redis = False

    def give_redis(self) -> None:
        self.valkey.start()
        self.redis = True


@contextmanager
def world(cluster: Cluster) -> Iterator[World]:
    """A world for many plays."""
    home = short_dir()
    with ExitStack() as stack:
        clients = Clients()
        stack.callback(clients.close)
        dsn = clients.run(cluster.clone())
        stack.callback(lambda: clients.run(cluster.drop(dsn)))
        valkey = EmbeddedValkey(home / "kv")
        variables = {
            "HUB_DATABASE_URL": dsn,
            "HUB_REDIS_URL": valkey.start(),
            "HUB_SECRET_KEYS": f"test:{SECRET}",
            "HUB_REGISTRATION": "open",
            "HUB_COMMANDS_PER_MINUTE": "60000",
            "HUB_COMMAND_BURST": "2000",
            "HUB_LOG_LEVEL": "warning",
        }
        stack.callback(valkey.stop)
        folders = [home / name / "data" for name in ("one", "two")]
        with ThreadPoolExecutor() as pool:
            starting = [pool.submit(_serve, stack, folder, variables) for folder in folders]
            doors = [Door(started.result()) for started in starting]
        admin = clients.run(_admin(doors[0], dsn))
        for door in doors:
            clients.watch(door)
        yield World(clients, doors, valkey, admin)


def _serve(stack: ExitStack, data_dir: Path, variables: dict[str, str]) -> str:
    data_dir.mkdir(parents=True)
    return stack.enter_context(serving(data_dir, **variables)).url


async def _admin(door: Door, dsn: str) -> str:
    token = await door.register("admin")
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE users SET is_admin = true WHERE name = 'admin'")
    await connection.close()
    return token


class Play:
    """One owner with sessions, and users who come, and lose and get back what they may. Everything here runs in the
    thread of the clients."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.users: list[User] = []
        self.sessions: dict[str, Right] = {}
        self.sockets: list[Socket] = []
        self.story: list[str] = []
        self._began = time.monotonic()
        self._owner = ""
        self._number = 0
        self._tasks: asyncio.TaskGroup
        self._over = asyncio.Event()
        self._life: asyncio.Task[None]

    def tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:6.2f}  {what}")

    def rest(self, token: str) -> httpx2.AsyncClient:
        """At one worker and the other, in turns."""
        self._number += 1
        return self._world.doors[self._number % 2].rest(token)

    # ---- the beginning and the end

    async def begin(self, users: int, sessions: int) -> None:
        """Register everybody, and make them editors of everything."""
        ready = asyncio.get_running_loop().create_future()
        self._life = asyncio.get_running_loop().create_task(self._live(ready))
        await ready
        run = uuid.uuid4().hex[:8]
        self._owner, *tokens = await asyncio.gather(
            self._world.doors[0].register(f"owner-{run}"),
            *(self._world.doors[n % 2].register(f"u{n}-{run}") for n in range(users)),
        )
        async with self.rest(self._owner) as owner:
            for _ in range(sessions):
                asked = time.monotonic()
                id_ = (await owner.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
                self.sessions[id_] = Right()
                self.sessions[id_].begin(asked)
        for n, token in enumerate(tokens):
            said = _claims_of(token)
            user = User(f"u{n}-{run}", said["sub"], Credential("sign-in", token, said["sid"]))
            user.active.begin(0)
            user.signed_in.right.begin(0)
            user.credentials.append(user.signed_in)
            user.roles = {id_: {role: Right() for role in Role} for id_ in self.sessions}
            self.users.append(user)
            for id_ in self.sessions:
                await self.put(user, id_, Role.EDITOR)
        self._tasks.create_task(self._talk())

    async def _live(self, ready: "asyncio.Future[None]") -> None:
        async with asyncio.TaskGroup() as self._tasks:
            ready.set_result(None)
            await self._over.wait()
            raise _Over

    async def end(self) -> None:
        """Close everything."""
        self._over.set()
        with suppress(BaseExceptionGroup):
            await self._life
        await asyncio.gather(*(socket.connection.close() for socket in self.sockets), return_exceptions=True)

    async def _talk(self) -> None:
        """There is always something to deliver."""
        async with self._world.doors[1].rest(self._owner) as rest:
            while True:
                for session in [id_ for id_, right in self.sessions.items() if right.there]:
                    with suppress(httpx2.HTTPError):
                        body = {"text": "/script turns=1 tokens=2"}
                        await rest.post(f"/v1/sessions/{session}/messages", json=body)
                    await asyncio.sleep(TALK_S)  # the pace of the conversation

    # ---- coming

    async def enter(self, user: User, credential: Credential, worker: int) -> None:
        """Connect and follow every session there is for this user."""
        try:
            connection = await connect(
                self._world.doors[worker].ws_url,
                additional_headers={"Authorization": f"Bearer {credential.secret}"},
                proxy=None,
                compression=None,
                max_size=None,
                ping_interval=None,
                open_timeout=30,
            )
        except InvalidStatus:
            if time.monotonic() < credential.hard_end:
                raise
            self.tell(f"{user.name} comes to worker {worker} too late with a {credential.kind}")
            return
        socket = Socket(user, credential, connection)
        self.sockets.append(socket)
        self._tasks.create_task(socket.listen())
        for session in self.sessions:
            if user.role(session) is not None:
                await socket.ask("session.join", session=session)
        self._tasks.create_task(socket.pester())
        self.tell(f"{user.name} enters worker {worker} with a {credential.kind}")

    async def credential(self, user: User, kind: str, life_s: float = 3600) -> Credential:
        """A new one of this kind."""
        token, ends = user.token(life_s=life_s)
        made = Credential(kind, token)
        if kind == "key":
            async with self.rest(token) as rest:
                answer = await rest.post("/v1/api-keys", json={"name": "bot"})
                assert answer.is_success, answer.text
                made.id, made.secret = answer.json()["id"], answer.json()["key"]
        elif kind == "short token":
            made.hard_end = ends
        made.right.begin(0)
        user.credentials.append(made)
        return made

    async def renew(self, socket: Socket, credential: Credential) -> None:
        """Show another credential on the open connection."""
        asked = time.monotonic()
        if (await socket.ask("auth", token=credential.secret))["ok"]:
            old, (since, _) = socket.shown[-1]
            socket.shown[-1:] = [(old, (since, time.monotonic())), (credential, (asked, EVER))]
            self.tell(f"{socket.user.name} shows a {credential.kind} instead of a {old.kind}")

    # ---- losing and getting back

    async def put(self, user: User, session: str, role: Role) -> None:
        """Add to the session, or change the role there."""
        asked = time.monotonic()
        async with self.rest(self._owner) as owner:
            answer = await owner.put(f"/v1/sessions/{session}/members/{user.name}", json={"role": role.value})
        assert answer.is_success, answer.text
        done = time.monotonic()
        for one, right in user.roles[session].items():
            if role.includes(one):
                right.begin(asked)
            else:
                right.end(done)
        self.tell(f"{user.name} is {role.value}")

    async def remove(self, user: User, session: str, *, by_owner: bool) -> None:
        token = self._owner if by_owner else user.token()[0]
        async with self.rest(token) as rest:
            answer = await rest.delete(f"/v1/sessions/{session}/members/{user.name}")
        assert answer.is_success, answer.text
        for right in user.roles[session].values():
            right.end(time.monotonic())
        self.tell(f"{user.name} is removed" if by_owner else f"{user.name} leaves")

    async def delete(self, session: str) -> None:
        async with self.rest(self._owner) as owner:
            answer = await owner.delete(f"/v1/sessions/{session}")
        assert answer.is_success, answer.text
        self.sessions[session].end(time.monotonic())
        self.tell("a session is deleted")

    async def revoke_key(self, user: User, key: Credential) -> None:
        async with self.rest(user.token()[0]) as rest:
            answer = await rest.delete(f"/v1/api-keys/{key.id}")
        assert answer.is_success, answer.text
        key.right.end(time.monotonic())
        self.tell(f"a key of {user.name} is revoked")

    async def sign_out(self, user: User, *, from_afar: bool) -> None:
        signed_in = user.signed_in
        async with self.rest(user.token()[0]) as rest:
            if from_afar:
                answer = await rest.delete(f"/v1/auth/sign-ins/{signed_in.id}")
            else:
                answer = await rest.post("/v1/auth/revoke", data={"token": signed_in.secret})
        assert answer.is_success, answer.text
        signed_in.right.end(time.monotonic())
        self.tell(f"{user.name} signs out")

    async def sign_out_everywhere(self, user: User, *, keys: bool, by_admin: bool) -> None:
        path = f"/v1/admin/users/{user.name}/signout" if by_admin else "/v1/auth/signout-all"
        async with self.rest(self._world.admin if by_admin else user.token()[0]) as rest:
            answer = await rest.post(path, json={"api_keys": keys})
        assert answer.is_success, answer.text
        self._end_tokens(user, keys=keys)
        self.tell(f"{user.name} is signed out everywhere")

    async def change_password(self, user: User) -> None:
        async with self.rest(user.token()[0]) as rest:
            answer = await rest.post("/v1/auth/password", json={"password": PASSWORD, "new_password": PASSWORD})
        if answer.status_code in (429, 503):  # Redis has only just come back
            return
        assert answer.is_success, answer.text
        self._end_tokens(user, keys=False)
        token = answer.json()["access_token"]
        user.signed_in = Credential("sign-in", token, _claims_of(token)["sid"])
        user.signed_in.right.begin(0)
        user.credentials.append(user.signed_in)
        self.tell(f"{user.name} has another password")

    async def suspend(self, user: User) -> None:
        await self._administer(user, "suspend")
        self._end_tokens(user, keys=False)
        user.active.end(time.monotonic())
        self.tell(f"{user.name} is suspended")

    async def erase(self, user: User) -> None:
        """For ever. The memberships go a little later, with what was said."""
        async with self.rest(self._world.admin) as rest:
            answer = await rest.delete(f"/v1/admin/users/{user.name}")
        assert answer.is_success, answer.text
        self._end_tokens(user, keys=True)
        user.active.end(time.monotonic())
        self.tell(f"{user.name} is erased")

    async def restore(self, user: User) -> None:
        asked = time.monotonic()
        await self._administer(user, "restore")
        user.active.begin(asked)
        self.tell(f"{user.name} is restored")

    async def _administer(self, user: User, what: str) -> None:
        async with self.rest(self._world.admin) as rest:
            answer = await rest.post(f"/v1/admin/users/{user.name}/{what}")
        assert answer.is_success, answer.text

    def _end_tokens(self, user: User, *, keys: bool) -> None:
        user.version += 1
        for credential in user.credentials:
            if keys or credential.kind != "key":
                credential.right.end(time.monotonic())

    async def gather(self) -> None:
        """Whatever happened before, everybody is an editor everywhere, on a socket on which something has come."""
        living = [session for session, right in self.sessions.items() if right.there]
        for n, user in enumerate(self.users):
            if not user.active.there:
                await self.restore(user)
            for session in living:
                if user.role(session) is not Role.EDITOR:
                    await self.put(user, session, Role.EDITOR)
            await self.enter(user, await self.credential(user, "token"), n % 2)
        async with asyncio.timeout(30):
            while not all(socket.served for socket in self.sockets[-len(self.users) :]):  # noqa: ASYNC110 - many
                await asyncio.sleep(0.02)

    async def finale(self) -> None:
        """After `gather`: each of five loses another right."""
        demoted, removed, leaving, signed_out, erased = self.users
        session, *others = [id_ for id_, right in self.sessions.items() if right.there]
        await self.put(demoted, session, Role.VIEWER)
        await self.remove(removed, session, by_owner=True)
        await self.remove(leaving, session, by_owner=False)
        await self.sign_out_everywhere(signed_out, keys=True, by_admin=False)
        await self.erase(erased)
        for other in others:
            await self.delete(other)

    # ---- the verdict

    @property
    def last_end(self) -> float:
        """When the last right ended."""
        spans = [span for socket in self.sockets for span in socket.spans()]
        spans += [span for right in self.sessions.values() for span in right.spans]
        spans += [s for user in self.users for rights in user.roles.values() for r in rights.values() for s in r.spans]
        return max((until for _, until in spans if until != EVER), default=0.0)

    def judge(self, lag_s: float) -> list[str]:
        """What was broken of the promise; `lag_s` is how late the clients may have looked."""
        wrong = []
        for socket in self.sockets:
            name = f"{socket.user.name} with a {socket.credential.kind}"
            there = socket.spans()
            for at, session, type_ in socket.delivered:
                allowed = both(there, self._may(socket.user, session, Role.VIEWER))
                if not _within(at, allowed, PROMISED_S + lag_s):
                    wrong.append(f"{name} got {type_} {self._since(at, allowed)}")
            for sent in socket.sent.values():
                if sent.taken is None:
                    continue
                allowed = self._may(socket.user, sent.session, sent.role)
                if not _within(sent.taken, there, PROMISED_S + lag_s):
                    wrong.append(f"{name}: {sent.type} taken {self._since(sent.taken, there)}")
                # Roles are read with every command: what is sent after the end is refused, however soon it comes.
                if not _within(sent.at, allowed, 0):
                    wrong.append(f"{name}: {sent.type} taken that was sent {self._since(sent.at, allowed)}")
            wrong += self._judge_close(name, socket, there, lag_s)
        return wrong

    def _judge_close(self, name: str, socket: Socket, there: list[Span], lag_s: float) -> list[str]:
        last, closed_at = there[-1][1] if there else 0.0, socket.closed_at
        if last == EVER and closed_at is None:
            return []
        if last == EVER and closed_at is not None:  # it may be for an end that was taken back since
            earlier = any(until <= closed_at <= until + PROMISED_S + lag_s for _, until in there[:-1])
            return [] if earlier else [f"{name}: closed with {socket.close_code} for no reason"]
        if closed_at is None or closed_at > last + PROMISED_S + lag_s:
            return [f"{name}: not closed in time"]
        codes = {4503} if socket.credential.hard_end == EVER else {4503, 4100}
        return [f"{name}: closed with {socket.close_code}"] if socket.close_code not in codes else []

    def _may(self, user: User, session: str, role: Role) -> list[Span]:
        return both(user.roles[session][role].spans, self.sessions[session].spans)

    def _since(self, at: float, spans: list[Span]) -> str:
        last = max((until for _, until in spans if until <= at), default=self._began)
        return f"{at - last:.1f} s after the end (at {at - self._began:.2f})"

    def shown(self) -> tuple[int, int]:
        """How many sockets have ended that were served before; how many roles and sessions ended under one that was."""
        served = [socket for socket in self.sockets if socket.served]
        sockets = sum(1 for socket in served if socket.spans() and socket.spans()[-1][1] != EVER)
        users = {id(socket.user): socket.user for socket in served}.values()
        rights = [self._may(user, session, role) for user in users for session in self.sessions for role in Role]
        return sockets, sum(1 for spans in rights for _, until in spans if until != EVER)


class _Over(Exception):
    """Ends the tasks of a play."""


def _within(at: float, spans: list[Span], slack_s: float) -> bool:
    return any(since <= at <= until + slack_s for since, until in spans)


def _claims_of(token: str) -> dict[str, str]:
    payload = token.split(".")[1]
    said: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return said
