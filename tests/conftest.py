"""Real services for every test: PostgreSQL and Valkey from their wheels, a fresh database per test, a real hub."""

import asyncio
import itertools
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio
from pydantic import SecretStr

from hub.app import serve
from hub.embedded.postgres import EmbeddedPostgres
from hub.embedded.valkey import EmbeddedValkey
from hub.settings import Settings
from hub.store.database import Store
from hub.store.migrate import upgrade
from tests.driver import Door

_numbers = itertools.count(1)


class Cluster:
    """One PostgreSQL for the test session; `clone` gives an empty, migrated database of its own."""

    def __init__(self, dsn: str) -> None:
        self.admin = dsn

    def named(self, database: str) -> str:
        return self.admin.replace("/hub?", f"/{database}?", 1)

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.named("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def clone(self) -> str:
        name = f"t{next(_numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE hub STRATEGY file_copy")
        return self.named(name)

    async def drop(self, dsn: str) -> None:
        name = dsn.split("?")[0].rsplit("/", 1)[1]
        await self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def short_dir() -> Path:
    """A folder with a path short enough for Unix sockets, which an unprivileged server can reach."""
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    home = short_dir()
    server = EmbeddedPostgres(home / "pg", for_tests=True)
    dsn = server.start()
    try:
        upgrade(dsn)
        yield Cluster(dsn)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    home = short_dir()
    server = EmbeddedValkey(home / "kv")
    url = server.start()
    try:
        yield url
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    store = Store(dsn)
    yield store
    await store.close()


@pytest.fixture
async def redis_url(valkey_server: str) -> str:
    """An empty Valkey."""
    client = redis.asyncio.Redis.from_url(valkey_server)
    await client.flushall()
    await client.aclose()
    return valkey_server


def settings_for(dsn: str, redis_url: str, **changes: Any) -> Settings:
    """The settings of a hub in a test; what is not changed is as in production."""
    values: dict[str, Any] = {
        "database_url": SecretStr(dsn),
        "redis_url": SecretStr(redis_url),
        "secret_keys": SecretStr("test:0123456789abcdef0123456789abcdef"),
        "registration": "open",
        "default_model": "scripted",
        "grace_s": 5,
        "command_burst": 1000,
        "commands_per_minute": 6000,
        "log_level": "warning",
    }
    return Settings(**{**values, **changes})


@asynccontextmanager
async def running_worker(settings: Settings, node: str = "test:1:a") -> AsyncGenerator[Door]:
    """One worker of a hub, in this process, on a socket of its own; drained at the end."""
    ready, stop = asyncio.Event(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve(settings, [listener], node, ready.set, stop))
            waiting = tasks.create_task(ready.wait())
            async with asyncio.timeout(20):
                await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            try:
                yield Door(f"http://127.0.0.1:{listener.getsockname()[1]}")
            finally:
                stop.set()


@pytest.fixture
async def hub(dsn: str, redis_url: str) -> AsyncIterator[Door]:
    """A whole hub: one worker that does everything."""
    async with running_worker(settings_for(dsn, redis_url)) as door:
        yield door


@pytest.fixture
async def two_workers(dsn: str, redis_url: str) -> AsyncIterator[tuple[Door, Door]]:
    """Two workers of one hub."""
    settings = settings_for(dsn, redis_url)
    async with running_worker(settings, "test:1:a") as one, running_worker(settings, "test:2:b") as two:
        yield one, two
