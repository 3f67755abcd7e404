"""Real services for every test: PostgreSQL and Valkey from their wheels, a database per test, a real hub.

`hub` and `two_workers` are shared and emptied after each test; `fresh_hub` is for a test that harms its hub.
"""

import asyncio
import itertools
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
import redis.asyncio
import structlog
from pydantic import SecretStr

from hub.app import serve
from hub.domain.organisation import FIRST_ORGANISATION
from hub.embedded.postgres import EmbeddedPostgres
from hub.embedded.valkey import EmbeddedValkey
from hub.process.listen import SEND_BUFFER_BYTES
from hub.settings import Settings
from hub.store import roles
from hub.store.database import Store
from hub.store.migrate import let_in, upgrade
from hub.store.tables import Base
from tests.driver import Door

# Their coverage is not measured: it would cost as much CPU again, and what they run others cover.
UNMEASURED = (
    "tests/api/test_contract.py",
    "tests/api/test_hostile_tokens.py",
    "tests/api/test_policy_matrix.py",
    "tests/faults/test_faults.py",
    "tests/faults/test_mutants.py",
    "tests/gateway/test_revocation.py",
    "tests/process/test_canary.py",
    "tests/web/",
)
_numbers = itertools.count(1)

# Whatever is set for whoever runs the suite: the hubs of the tests have the settings that the tests give them, and no
# proxy stands between a test and this machine.
for _name in [name for name in os.environ if name.startswith("HUB_") and not name.startswith("HUB_TEST_")]:
    del os.environ[_name]
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join([*filter(None, [os.environ.get(_name)]), "127.0.0.1", "localhost"])

# The same examples each time, however long one takes: whoever runs the suite looks for what they broke, not for luck.
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-minutes", type=float, default=5, help="tests/api/fuzz_contract.py: as each kind of caller")


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


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(UNMEASURED):
            item.add_marker(pytest.mark.no_cover)


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
        let_in(dsn, roles.as_role(dsn, roles.APPLICATION))
        yield Cluster(dsn)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def own_valkey() -> Iterator[str]:
    """A Valkey of its own: its address."""
    home = short_dir()
    server = EmbeddedValkey(home / "kv")
    url = server.start()
    try:
        yield url
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    with own_valkey() as url:
        yield url


async def flush(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.flushall()
    await client.aclose()


def settings_for(dsn: str, redis_url: str, **changes: Any) -> Settings:
    """The settings of a hub in a test; what is not changed is as in production."""
    values: dict[str, Any] = {
        "database_url": SecretStr(roles.as_role(dsn, roles.APPLICATION)),
        "redis_url": SecretStr(redis_url),
        "secret_keys": SecretStr("test:0123456789abcdef0123456789abcdef"),
        "registration": "open",
        "default_model": "scripted",
        "grace_s": 5,
        "password_memory_kib": 8,  # else a third of all time goes into hashes
        "command_burst": 1000,
        "commands_per_minute": 6000,
        "log_level": "warning",
    }
    return Settings(**{**values, **changes})


@asynccontextmanager
async def running_worker(settings: Settings, node: str = "test:1:a") -> AsyncGenerator[Door]:
    """One worker of a hub, in this process, on a socket of its own; drained at the end."""
    logging_before = structlog.get_config(), logging.getLogger().handlers[:]
    ready, stop = asyncio.Event(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the supervisor does, both
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve(settings, [listener], node, ready.set, stop))
            waiting = tasks.create_task(ready.wait())
            async with asyncio.timeout(60):
                await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            try:
                yield Door(f"http://127.0.0.1:{listener.getsockname()[1]}")
            finally:
                # Also when the test has failed: a listener that is closed under a server that was only cancelled
                # leaves its number in the loop's selector, and the next socket of that number would hear nothing.
                stop.set()
                await asyncio.wait([serving])
                if listener.fileno() >= 0:  # the worker has died and not closed it
                    asyncio.get_running_loop().remove_reader(listener.fileno())
                # What it logs to may be a test's own stderr, which is closed with the test.
                structlog.configure(**logging_before[0])
                logging.getLogger().handlers[:] = logging_before[1]


# The rows of sessions first, as everywhere: what a run still writes is waited for, not met crosswise. The audit trail
# lets nobody delete but who turns its trigger off. The first organisation is always there.
KEPT = {"audit", "organisations"}
EMPTY = (
    "SELECT FROM sessions FOR UPDATE;"
    + "".join(f"DELETE FROM {table.name};" for table in reversed(Base.metadata.sorted_tables) if table.name not in KEPT)
    + f"DELETE FROM organisations WHERE id <> '{FIRST_ORGANISATION}';"
    + "SET session_replication_role = replica; DELETE FROM audit;"
)


class SharedHub:
    """Workers on a database and a Valkey of their own, emptied between tests instead of started anew."""

    def __init__(self, dsn: str, redis_url: str, nodes: Sequence[str]) -> None:
        self.dsn = dsn
        self.redis_url = redis_url
        self.doors: list[Door] = []
        self._started, self._stop = asyncio.Event(), asyncio.Event()
        self._life = asyncio.create_task(self._live(nodes))  # one task owns the workers, whichever test runs

    async def started(self) -> None:
        """Wait until all workers take traffic."""
        waiting = asyncio.create_task(self._started.wait())
        await asyncio.wait([self._life, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._started.is_set():
            await self._life  # raises what hindered it

    async def empty(self) -> None:
        """Make it as new: nobody is known, nothing was said, and what still runs has lost its lease."""
        if self._life.done():
            await self._life  # raises what a worker has died of
        database = await asyncpg.connect(self.dsn)
        await database.execute(EMPTY)
        await database.close()
        await flush(self.redis_url)

    async def stop(self) -> None:
        self._stop.set()
        await self._life

    async def _live(self, nodes: Sequence[str]) -> None:
        settings = settings_for(self.dsn, self.redis_url)
        async with AsyncExitStack() as stack:
            self.doors = [await stack.enter_async_context(running_worker(settings, node)) for node in nodes]
            self._started.set()
            await self._stop.wait()


@asynccontextmanager
async def sharing(cluster: Cluster, *nodes: str) -> AsyncGenerator[SharedHub]:
    """A hub for all tests of this process."""
    with own_valkey() as redis_url:
        shared = SharedHub(await cluster.clone(), redis_url, nodes)
        await shared.started()
        yield shared
        await shared.stop()


@pytest.fixture
async def dsn(request: pytest.FixtureRequest, cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, migrated database; with `hub` or `two_workers` in the same test, theirs."""
    if (shared := _shared_by(request)) is not None:
        yield shared.dsn
        return
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    store = Store(dsn)
    yield store
    await store.close()


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest, valkey_server: str) -> str:
    """An empty Valkey; with `hub` or `two_workers` in the same test, theirs."""
    if (shared := _shared_by(request)) is not None:
        return shared.redis_url
    await flush(valkey_server)
    return valkey_server


@pytest.fixture
async def hub(shared_hub: SharedHub) -> AsyncIterator[Door]:
    """A whole hub, empty: one worker that does everything, the same for all tests."""
    yield shared_hub.doors[0]
    await shared_hub.empty()


@pytest.fixture
async def two_workers(shared_pair: SharedHub) -> AsyncIterator[tuple[Door, Door]]:
    """Two workers of one hub, empty, the same for all tests."""
    one, two = shared_pair.doors
    yield one, two
    await shared_pair.empty()


@pytest.fixture
async def fresh_hub(dsn: str, redis_url: str) -> AsyncIterator[Door]:
    """A hub of this test's own, which may be harmed."""
    async with running_worker(settings_for(dsn, redis_url)) as door:
        yield door


@pytest.fixture(scope="session")
async def shared_hub(cluster: Cluster) -> AsyncIterator[SharedHub]:
    async with sharing(cluster, "test:1:a") as shared:
        yield shared


@pytest.fixture(scope="session")
async def shared_pair(cluster: Cluster) -> AsyncIterator[SharedHub]:
    async with sharing(cluster, "test:1:a", "test:2:b") as shared:
        yield shared


def _shared_by(request: pytest.FixtureRequest) -> SharedHub | None:
    """The shared hub that this test uses; it has been started before anything of the test's own."""
    for name in ("shared_hub", "shared_pair"):
        if name in request.fixturenames:
            shared = request.getfixturevalue(name)
            assert isinstance(shared, SharedHub)
            return shared
    return None
