"""Users at work while the hub breaks: they write, follow from several tabs, read by REST, stop runs; and the last look
at everything when it is whole again."""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx2

from tests.driver import Door
from tests.faults import audit, bots
from tests.faults.bots import Bot
from tests.faults.clients import Client, Lost, RestReader
from tests.faults.rig import Node, Rig, until

OPEN_RUNS = "SELECT id::text, status, session_id::text FROM runs WHERE status NOT IN ('completed','failed','cancelled')"
TEAMS = ("scripted", "scripted-autogen", "scripted-tools", *bots.TEAMS)
BOTS = 2  # programs for the one seat of a team that has one
CONNECT_S = 60.0
SILENT_S = 45.0  # how long a writer who waits for the end of a run does before it says the next thing


Words = tuple[str, dict[str, Any]]
"""A message's text, and other fields of the command."""


class Load:
    """`users` people in `sessions` rooms, each with two members; every member has `tabs` clients that follow.

    `words` gives what is said next (None: a mix of everything), `patience` the share of messages after which the end of
    the run is awaited, `cancels` the share of runs that are stopped. `watch` is told every event that any client got.
    """

    def __init__(
        self,
        rig: Rig,
        rng: random.Random,
        *,
        users: int = 4,
        sessions: int = 6,
        tabs: int = 2,
        words: Callable[[random.Random], Words] | None = None,
        patience: float = 0.7,
        silent_s: float = SILENT_S,
        cancels: float = 0.15,
        watch: Callable[[dict[str, Any]], None] | None = None,
        doors: Sequence[str] = (),
    ) -> None:
        self.rig = rig
        self.history = rig.history
        self._rng = rng
        self._users = users
        self._sessions = sessions
        self._tabs = tabs
        self._words = words or self._anything
        self._patience = patience
        self._silent_s = silent_s
        self._cancels = cancels
        self._watch = watch
        self._doors = list(doors) or rig.doors
        self.owners: dict[str, str] = {}
        self.clients: list[Client] = []
        self.bots: list[Bot] = []
        self.finished: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.last_event_at: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._writing = True
        self._keys: set[str] = set()
        self._sending = 0
        self._asked: dict[str, str] = {}  # open requests and their sessions
        self.rest_times: list[float] = []  # of each request of the readers
        self.converged_s = 0.0
        self.ended_s = 0.0

    async def start(self, group: asyncio.TaskGroup, teams: tuple[str, ...] = TEAMS, writers: bool = True) -> None:
        """Register, make rooms, connect everybody; then everybody begins to talk."""
        names = [f"u{number}-{self._rng.randrange(10**6)}" for number in range(self._users)]
        for name in names:
            await self.rig.register(name)
        programs = await self._make_bots() if bots.TEAMS.keys() & teams else []
        followed: dict[str, list[str]] = {name: [] for name in names}
        for number in range(self._sessions):
            owner, guest = names[number % len(names)], names[(number + 1) % len(names)]
            team = teams[number % len(teams)]
            members = [guest] if guest != owner else []
            session = await self.rig.make_session(
                self.rig.tokens[owner], team, [*members, *programs] if team in bots.TEAMS else members
            )
            self.owners[session] = owner
            for name in {owner, guest}:
                self.history.add("member", user=name, session=session)
                followed[name].append(session)
        for name, sessions in followed.items():
            for _ in range(self._tabs):
                self.clients.append(self._client(name, sessions))
        for client in self.connected:
            self._tasks.append(group.create_task(client.run()))
        async with asyncio.timeout(CONNECT_S):
            for client in self.connected:
                await client.connected.wait()
        if writers:
            for session, owner in self.owners.items():
                mine = [client for client in self.clients if session in client.cursors]
                self._tasks.append(group.create_task(self._write(session, self._rng.choice(mine))))
                self._tasks.append(group.create_task(self._read(session, owner)))
            self._tasks.append(group.create_task(self._answer()))

    @property
    def connected(self) -> list[Client]:
        """People's connections and those of programs."""
        return [*self.clients, *self.bots]

    async def _make_bots(self) -> list[str]:
        names = [f"b{number}-{self._rng.randrange(10**6)}" for number in range(BOTS)]
        for name in names:
            await self.rig.register(name)
            rng = random.Random(self._rng.random())
            self.bots.append(Bot(self.history, self._doors, name, self.rig.tokens, rng))
        return names

    def _client(self, name: str, sessions: list[str]) -> Client:
        return Client(
            self.history,
            self._doors,
            name,
            self.rig.tokens,
            random.Random(self._rng.random()),
            sessions=sessions,
            on_event=self._on_event,
        )

    def _on_event(self, frame: dict[str, Any]) -> None:
        if (run := frame.get("run")) is not None:
            self.last_event_at[run] = time.monotonic()
        match frame["type"]:
            case "run.finished":
                self.finished[frame["run"]].set()
            case "input.requested":
                self._asked[frame["data"]["request"]] = frame["session"]
            case "input.resolved":
                self._asked.pop(frame["data"]["request"], None)
        if self._watch is not None:
            self._watch(frame)

    # ---- what they do

    async def _write(self, session: str, client: Client) -> None:
        rng = random.Random(self._rng.random())
        while self._writing:
            text, fields = self._words(rng)
            self._sending += 1
            try:
                sent = await client.send(session, text, **fields)
            finally:
                self._sending -= 1
            if sent is None or sent["run"] is None or not self._writing:
                continue
            if rng.random() < self._cancels:
                await asyncio.sleep(rng.uniform(0, 1))
                await self._meddle(session, client, sent["message"], rng)
            if rng.random() < self._patience:
                try:
                    async with asyncio.timeout(self._silent_s):
                        await self.finished[sent["run"]].wait()
                except TimeoutError:
                    pass
            await asyncio.sleep(rng.uniform(0.05, 1))

    def _anything(self, rng: random.Random) -> Words:
        turns, tokens = rng.randint(1, 3), rng.choice((3, 20, 60))
        text = f"/script turns={turns} tokens={tokens} rate={rng.choice((15, 40, 150))}"
        dice = rng.random()
        if dice < 0.25:
            text += f" tool=counter key={self.key(rng)}"
        elif dice < 0.30:
            text += " tool=transfer key=t"
        elif dice < 0.35:
            text += f" fail_at={rng.randrange(3)}"
        fields: dict[str, Any] = {}
        dice = rng.random()
        if dice < 0.25:
            fields["on_busy"] = "interrupt" if dice < 0.12 else "steer"
        return text, fields

    def key(self, rng: random.Random) -> str:
        """A counter of its own for one call of the tool."""
        key = f"k{rng.getrandbits(48):x}"
        self._keys.add(key)
        return key

    async def _meddle(self, session: str, client: Client, message: str, rng: random.Random) -> None:
        """Stop the run, pause it for a while, or say it in another way. What has no answer is not said again."""
        try:
            match rng.randrange(6):
                case 0 | 1:
                    await client.ask("run.cancel", session=session)
                case 2 | 3:
                    await client.ask("run.pause", session=session)
                    await asyncio.sleep(rng.uniform(0, 2))
                    await client.ask("run.resume", session=session)
                case 4:
                    await client.ask("message.edit", session=session, message=message, text=self._anything(rng)[0])
                case _:
                    await client.ask("message.regenerate", session=session, message=message)
        except Lost:
            return

    async def _answer(self) -> None:
        """Approvals and retries are granted or not, by whomever is connected."""
        rng = random.Random(self._rng.random())
        while True:
            await asyncio.sleep(0.3)
            for request, session in list(self._asked.items()):
                client = rng.choice([c for c in self.clients if session in c.cursors])
                decision = rng.choice(("approve", "reject"))
                try:
                    reply = await client.ask("input.respond", session=session, request=request, decision=decision)
                except Lost:
                    continue
                if reply["ok"] or not reply["error"]["retryable"]:
                    self._asked.pop(request, None)

    async def _read(self, session: str, owner: str) -> None:
        reader = RestReader(self.history, self._doors, owner, self.rig.tokens, random.Random(self._rng.random()))
        reader.times = self.rest_times
        while self._writing:
            await reader.read(session)
            await asyncio.sleep(0.7)

    # ---- the end

    async def settle(self, *, runs_s: float = 60.0, converge_s: float = 20.0) -> None:
        """The hub is whole: nobody writes any more, all runs end, everybody sees everything. What does not happen in
        time is left to the checker."""
        self._writing = False
        self.history.add("heal")
        began = time.monotonic()
        try:
            self.ended_s = await until(self._no_open_runs, "all runs end", runs_s)
            for client in self.connected:
                async with asyncio.timeout(60):
                    await client.connected.wait()
            self.converged_s = await until(self._all_see_all, "every client has every event", converge_s)
        except (AssertionError, TimeoutError) as e:
            self.history.add("fault", name="not settled", detail=str(e), after=time.monotonic() - began)

    async def _no_open_runs(self) -> bool:
        rows = await self.rig.sql(OPEN_RUNS)
        for row in rows:
            if row["status"] == "paused":  # whoever paused it lost the connection before resuming it
                client = next(c for c in self.clients if row["session_id"] in c.cursors)
                with suppress(Lost):
                    await client.ask("run.resume", session=row["session_id"])
        return not rows and not self._sending

    async def _all_see_all(self) -> bool:
        ends = {r["id"]: r["last_seq"] for r in await self.rig.sql("SELECT id::text, last_seq FROM sessions")}
        return all(seq == ends[session] for client in self.clients for session, seq in client.cursors.items())

    async def read_all(self) -> None:
        """The final log by REST of every node, as a stream, as a transcript; runs, effects and PostgreSQL's audit."""
        for session, owner in self.owners.items():
            await self.read_finally(session, self.rig.tokens[owner])
        for row in await self.rig.sql("SELECT id::text, status FROM runs"):
            self.history.add("run", id=row["id"], status=row["status"])
        for row in await self.rig.sql("SELECT key, value FROM counters"):
            if row["key"] in self._keys:
                self.history.add("effect", key=row["key"], value=row["value"])
        self.history.add("audit", items=[dict(row) for row in await self.rig.sql(audit.READ)])

    async def read_finally(self, session: str, token: str) -> None:
        """One session, from every node."""
        for node in self.rig.nodes:
            items = await self._pages(node, session, token)
            op = f"final {node.name} {session}"
            self.history.add("read", op=op, session=session)
            self.history.add("read.ok", op=op, last_seq=len(items), items=items)
        streamed = await self._stream(self.rig.nodes[-1], session, token, len(items))
        self.history.add("read", op=f"sse {session}", session=session)
        self.history.add("read.ok", op=f"sse {session}", last_seq=len(streamed), items=streamed)
        async with Door(self.rig.nodes[0].url).rest(token) as rest:
            told = (await rest.get(f"/v1/sessions/{session}/transcript")).json()
        self.history.add("log", session=session, items=items)
        self.history.add("transcript", session=session, items=told["messages"])

    async def _pages(self, node: Node, session: str, token: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        async with Door(node.url).rest(token) as rest:
            while True:
                after = items[-1]["seq"] if items else 0
                answer = await rest.get(f"/v1/sessions/{session}/events", params={"after_seq": after, "limit": 1000})
                answer.raise_for_status()
                page = answer.json()
                items += page["items"]
                if not page["items"] or items[-1]["seq"] >= page["last_seq"]:
                    return items

    async def _stream(self, node: Node, session: str, token: str, count: int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(30),
            Door(node.url).rest(token) as rest,
            rest.stream("GET", f"/v1/sessions/{session}/events/stream") as answer,
        ):
            with suppress(httpx2.ReadTimeout):  # a log with a hole never comes to its count: what it told is judged
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        items.append(json.loads(line[5:]))
                    if len(items) >= count:
                        break
        return items

    async def leave(self) -> None:
        """Everybody goes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
