"""Who is in a session, over all workers: leased, never stored."""

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from hub.domain.ids import SessionId, UserId
from hub.protocol.frames import now
from hub.protocol.live import PresenceData
from hub.relay import keys, scripts
from hub.relay.pipeline import OnReply, Pipeline
from hub.relay.wire import Reply

TTL_S = 60.0
REFRESH_S = 20.0
JOIN_DELAY_S = 0.1  # what a user does in quick succession is told once
JOIN_EVERY_S = 1.0  # when everybody comes back, each coming is told to everybody
LEAVE_DELAY_S = 2.0  # a reload of the page is no leave
TICK_S = 0.1
PER_WRITE = 200  # connections per command
SESSIONS_PER_WRITE = 50  # when all are written again
PER_SESSION = 20  # connections, of those that are written together

Status = Literal["active", "idle", "typing"]


@dataclass(slots=True)
class _Here:
    status: Status
    name: bytes


class Presence:
    """The connections of this worker and what they do; `presence.changed` tells each session about its users.

    A user's status is the liveliest of their connections (typing, active, idle). Nothing here raises or waits for
    Redis, save `list`; while Redis is away nobody is told anything, and what is here is written again afterwards.
    A worker that dies stops refreshing: others in the session tell that its users are offline within 80 s.
    """

    def __init__(self, pipeline: Pipeline, *, ttl_s: float = TTL_S, refresh_s: float = REFRESH_S) -> None:
        self._pipeline = pipeline
        self._ttl_ms = b"%d" % int(ttl_s * 1000)
        self._announced_ttl_ms = b"%d" % int(ttl_s * 10_000)
        self._refresh_s = refresh_s
        self._script = scripts.load("presence")
        self._write_script = scripts.load("presence_write")
        self._refresh_script = scripts.load("presence_refresh")
        self._here: dict[SessionId, dict[bytes, _Here]] = {}
        self._due: dict[tuple[SessionId, UserId], float] = {}
        self._told: dict[tuple[SessionId, UserId], float] = {}  # since the last refresh
        self._untold = set[SessionId]()  # of which Redis did not take something since then
        self._changed = asyncio.Event()

    def join(self, session: SessionId, user: UserId, name: str, connection: str) -> None:
        """A connection of `user` is here, `active`."""
        here = self._here.setdefault(session, {})
        here[_field(user, connection)] = _Here("active", orjson.dumps(name))
        self._write(session, [_field(user, connection)])
        moment = time.monotonic()
        at = max(moment + JOIN_DELAY_S, self._told.get((session, user), -math.inf) + JOIN_EVERY_S)
        self._due[session, user] = min(at, self._due.get((session, user), math.inf))
        self._changed.set()

    def set(self, session: SessionId, user: UserId, connection: str, status: Status) -> None:
        """What the connection does now; nothing when it is not here."""
        entry = self._here.get(session, {}).get(_field(user, connection))
        if entry is not None and entry.status != status:
            entry.status = status
            self._write(session, [_field(user, connection)])
            self._tell_after(JOIN_DELAY_S, session, user)

    def leave(self, session: SessionId, user: UserId, connection: str) -> None:
        """The connection is gone; told after 2 s, unless the user has come back by then."""
        here = self._here.get(session, {})
        if here.pop(_field(user, connection), None) is None:
            return
        if not here:
            del self._here[session]
        self._write(session, [_field(user, connection)])
        self._tell_after(LEAVE_DELAY_S, session, user)

    async def list(self, session: SessionId) -> list[PresenceData]:
        """Who is here, by name; empty while Redis is away. Takes at most a few seconds."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._run(session, b"list", (), lambda answer: None if reply.done() else reply.set_result(answer))
        rows = await reply
        if not isinstance(rows, list):
            return []
        people = [
            PresenceData(user=user.decode(), name=orjson.loads(name), status=status.decode(), connections=connections)
            for user, name, status, connections in (rows[i : i + 4] for i in range(0, len(rows), 4))
        ]
        return sorted(people, key=lambda person: (person.name, person.user))

    async def run(self) -> None:
        """Tells what is due and keeps what is here alive, for ever."""
        refresh_at = time.monotonic() + self._refresh_s
        while True:
            if self._due:
                await asyncio.sleep(TICK_S)
            else:
                await self._wait_for_change(refresh_at - time.monotonic())
            self._tell_due(time.monotonic())
            if time.monotonic() >= refresh_at:
                refresh_at = time.monotonic() + self._refresh_s
                await self._refresh()

    async def _wait_for_change(self, timeout_s: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _tell_after(self, delay_s: float, session: SessionId, user: UserId) -> None:
        self._due[session, user] = time.monotonic() + delay_s
        self._changed.set()

    def _tell_due(self, moment: float) -> None:
        due: dict[SessionId, list[bytes]] = {}
        for (session, user), at in list(self._due.items()):
            if at <= moment:
                del self._due[session, user]
                self._told[session, user] = moment
                due.setdefault(session, []).append(user.encode())
        for session, users in due.items():
            self._run(session, b"tell", users, self._taken(session))

    async def _refresh(self) -> None:
        self._told.clear()
        untold, self._untold = self._untold, set()
        sessions = list(self._here)
        for start in range(0, len(sessions), SESSIONS_PER_WRITE):
            await asyncio.sleep(0)  # tokens have their turn
            some = list[SessionId]()
            for session in sessions[start : start + SESSIONS_PER_WRITE]:
                fields = list(self._here.get(session, ()))
                if len(fields) <= PER_SESSION and session not in untold:
                    some += [session] if fields else []
                    continue
                for i in range(0, len(fields), PER_WRITE):
                    self._write(session, fields[i : i + PER_WRITE])
                self._tell_all(session)
            if some:
                self._still_here(some)

    def _still_here(self, sessions: Sequence[SessionId]) -> None:
        """Keep what is here alive in sessions with few connections, with one command for all of them."""
        words, names = [self._ttl_ms, self._announced_ttl_ms], list[bytes]()
        for session in sessions:
            here = self._here[session]
            names += (keys.presence(session), keys.announced(session))
            words.append(b"%d" % len(here))
            for field, entry in here.items():
                words += (field, entry.status.encode(), entry.name)

        def on_reply(reply: Reply) -> None:
            for number in reply if isinstance(reply, list) else ():
                self._tell_all(sessions[number - 1])

        self._pipeline.script(self._refresh_script, names, words, on_reply)

    def _tell_all(self, session: SessionId) -> None:
        users = {field.split(b" ", 1)[0] for field in self._here.get(session, ())}
        if users:
            self._run(session, b"tell", users, self._taken(session))

    def _taken(self, session: SessionId) -> OnReply:
        def on_reply(reply: Reply) -> None:
            if isinstance(reply, Exception) and session in self._here:
                self._untold.add(session)

        return on_reply

    def _write(self, session: SessionId, fields: Sequence[bytes]) -> None:
        here = self._here.get(session, {})
        words: list[bytes] = []
        for field in fields:
            entry = here.get(field)
            words += (field, entry.status.encode() if entry else b"", entry.name if entry else b"")
        self._pipeline.script(
            self._write_script, [keys.presence(session)], [self._ttl_ms, *words], self._taken(session)
        )

    def _run(self, session: SessionId, mode: bytes, users: Iterable[bytes], on_reply: OnReply) -> None:
        names = [keys.presence(session), keys.announced(session), keys.channel(session)]
        words = [mode, session.encode(), now().encode(), self._announced_ttl_ms, *users]
        self._pipeline.script(self._script, names, words, on_reply)


def _field(user: UserId, connection: str) -> bytes:
    return f"{user} {connection}".encode()
