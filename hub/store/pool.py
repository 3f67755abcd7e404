"""Connections to PostgreSQL that are open and wait for the next transaction.

SQLAlchemy's pool costs a transaction more than the driver does.
"""

import asyncio
import contextlib
import json
import time
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


class Pool:
    """At most `size` connections, made when they are needed; the one that was used last is taken first.

    `url` is as of `hub.store.database.driver_url`; `settings` are those of the server for every connection,
    `command_timeout_s` bounds each statement. Whoever finds all of them taken waits `wait_s` seconds.
    """

    def __init__(
        self, url: URL, *, size: int, wait_s: float, command_timeout_s: float, settings: Mapping[str, str]
    ) -> None:
        self._wait_s = wait_s
        self._arguments: dict[str, Any] = {
            **_arguments(url),
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": command_timeout_s,
            "statement_cache_size": STATEMENT_CACHE,
            "max_cached_statement_lifetime": 0,  # as long as the connection
            "server_settings": dict(settings),
        }
        self._places = asyncio.Semaphore(size)
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
        if self._places.locked():
            try:
                async with asyncio.timeout(self._wait_s):
                    await self._places.acquire()
            except TimeoutError as e:
                raise Unavailable("the database is overloaded", retry_after=1) from e
        else:
            await self._places.acquire()
        self._taken += 1
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
            with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=GOODBYE_S)

    def _leave(self) -> None:
        self._taken -= 1
        self._places.release()

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
