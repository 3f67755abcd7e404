"""Connections to PostgreSQL that are open and wait for the next transaction.

SQLAlchemy's pool costs a transaction more than the driver does. And few connections do the same for less: a new one is
a new process of the server, which knows no table and no statement yet, and many that take turns find nothing of theirs
in the processor's caches.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from hub.domain.errors import Unavailable

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # it is generic for the type checker only
    Connection = asyncpg.Connection

CONNECT_TIMEOUT_S = 3.0
STATEMENT_CACHE = 256  # prepared statements per connection: more than the store has
RECYCLE_S = 1800.0  # what a connection has gathered in the server goes with it
GOODBYE_S = 2.0
FEW = 4  # connections that are enough as long as nothing waits in the server
MAKING = 2  # beyond them at once
PATIENCE_S = 0.005  # that one of them is waited for: a statement takes less, a new connection more

_TROUBLE = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Pool:
    """At most `size` connections, made when they are needed; the one that was used last is taken first.

    Whoever finds a `FEW` of them taken waits for one to be given back, in turn, and takes another only when none is
    within `patience_s`; beyond `FEW` they are made a few at a time. `url` is as of `hub.store.database.driver_url`;
    `settings` are those of the server for every connection, `command_timeout_s` bounds each statement. Nobody waits for
    longer than `wait_s` seconds.
    """

    def __init__(
        self,
        url: URL,
        *,
        size: int,
        wait_s: float,
        patience_s: float,
        command_timeout_s: float,
        settings: Mapping[str, str],
    ) -> None:
        self._wait_s = wait_s
        self._patience_s = patience_s
        self._arguments: dict[str, Any] = {
            **_arguments(url),
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": command_timeout_s,
            "statement_cache_size": STATEMENT_CACHE,
            "max_cached_statement_lifetime": 0,  # as long as the connection
            "server_settings": dict(settings),
        }
        self._size = size
        self._few = min(size, FEW)
        self._waiting = deque[asyncio.Future[None]]()
        self._free: list[Connection] = []
        self._opened: dict[Connection, float] = {}  # also those that are taken
        self._taken = 0
        self._closed = False

    @property
    def taken(self) -> int:
        """How many connections somebody has, or is about to have."""
        return self._taken

    async def take(self) -> Connection:
        """A connection for the caller alone, who gives it back. Raises `Unavailable` when all are taken for too long,
        and what the driver raises when there is none to be had."""
        if self._taken < self._few:
            self._taken += 1
        else:
            await self._place()
        try:
            return self._reused() or await self._connect()
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: Connection) -> None:
        """Another may have it, unless it is of no use any more. What it left undone is undone."""
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self._drop(connection)
        else:
            self._free.append(connection)
        self._leave()

    async def close(self) -> None:
        """Close what is not taken; the rest goes when it is given back."""
        self._closed = True
        free, self._free = self._free, []
        for connection in free:
            self._opened.pop(connection, None)
            with contextlib.suppress(*_TROUBLE):
                await connection.close(timeout=GOODBYE_S)

    async def fill(self) -> None:
        """Make a `FEW` connections, before anybody waits for them. What cannot be made now is made when it is
        needed."""
        made = list[Connection]()

        async def make() -> None:
            with contextlib.suppress(Unavailable, *_TROUBLE):
                made.append(await self.take())

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._few):
                    tasks.create_task(make())
        finally:
            for connection in made:
                self.give_back(connection)

    async def _place(self) -> None:
        """Wait for the place of somebody who leaves, or for a while and then for one more."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        timers = [
            loop.call_later(self._patience_s, self._one_more, turn),
            loop.call_later(self._wait_s, _give_up, turn),
        ]
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # the place came at the same time
                self._leave()
            raise
        finally:
            for timer in timers:
                timer.cancel()

    def _one_more(self, turn: asyncio.Future[None]) -> None:
        if turn.done() or self._taken == self._size:  # who leaves hands their place on
            return
        if self._taken - len(self._opened) >= MAKING:
            asyncio.get_running_loop().call_later(self._patience_s, self._one_more, turn)
            return
        self._taken += 1
        turn.set_result(None)

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    def _reused(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed() and time.monotonic() - self._opened[connection] < RECYCLE_S:
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: Connection) -> None:
        self._opened.pop(connection, None)
        connection.terminate()

    async def _connect(self) -> Connection:
        connection: Connection = await asyncpg.connect(**self._arguments)
        try:
            await connection.set_type_codec(
                "json", schema="pg_catalog", encoder=str.encode, decoder=_json, format="binary"
            )
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=_to_jsonb, decoder=_jsonb, format="binary"
            )
        except BaseException:
            connection.terminate()
            raise
        self._opened[connection] = time.monotonic()
        return connection


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(Unavailable("the database is overloaded", retry_after=1))


def _arguments(url: URL) -> dict[str, Any]:
    """What SQLAlchemy would give the driver for this URL."""
    dialect: Any = PGDialect_asyncpg
    arguments: dict[str, Any] = dialect().create_connect_args(url)[1]
    return arguments


# JSON comes as what it says and goes as text, with the byte before `jsonb` that says which version of it this is.
def _json(value: bytes) -> Any:
    return json.loads(value)


def _jsonb(value: bytes) -> Any:
    return json.loads(value[1:])


def _to_jsonb(text: str) -> bytes:
    return b"\x01" + text.encode()
