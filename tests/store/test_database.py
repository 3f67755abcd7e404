"""Connections and transactions: whatever is wrong with the database becomes `Unavailable`, within bounds."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from hub.domain.errors import Conflict, Unavailable
from hub.domain.ids import SessionId, UserId
from hub.embedded.postgres import EmbeddedPostgres
from hub.store import migrate, sessions
from hub.store.database import NotBegun, Store, driver_url
from hub.store.pool import FEW
from tests.conftest import Cluster, short_dir
from tests.store.conftest import make_session, somebody_waits


class Server:
    """A PostgreSQL of its own, to be stopped and frozen."""

    def __init__(self, home: Path) -> None:
        self.postgres = EmbeddedPostgres(home, for_tests=True)
        self.dsn = self.postgres.start()
        self._pid_file = home / "data" / "postmaster.pid"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        postmaster = int(self._pid_file.read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        pids = [postmaster, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    home = short_dir()
    server = Server(home / "pg")
    yield server
    server.postgres.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def hasty(dsn: str) -> AsyncIterator[Store]:
    """A store with two connections and little patience."""
    store = Store(dsn, pool_size=2, command_timeout_s=2, pool_timeout_s=1)
    yield store
    await store.close()


async def test_a_transaction_is_all_or_nothing(store: Store, alice: UserId) -> None:
    made = []

    async def fail() -> None:
        async with store.transaction() as db:
            made.append(await make_session(db, alice))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with store.transaction() as db:
        kept = await make_session(db, alice)
    async with store.transaction() as db:
        assert await sessions.get(db, made[0]) is None
        assert await sessions.get(db, kept) is not None
        assert store.pool_in_use == 1
    assert store.pool_in_use == 0


async def test_a_failure_that_somebody_hid_is_not_taken_for_a_commit(store: Store, alice: UserId) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with a ROLLBACK, and with no error."""
    made = []

    async def hide() -> None:
        async with store.transaction() as db:
            made.append(await make_session(db, alice))
            with suppress(asyncpg.UndefinedColumnError):
                await db.execute(text("SELECT nonsense"))

    with pytest.raises(RuntimeError, match="was rolled back"):
        await hide()
    async with store.transaction() as db:
        assert await sessions.get(db, made[0]) is None
    assert store.pool_in_use == 0


async def test_what_must_be_unique_is_a_conflict(store: Store, alice: UserId, session: SessionId) -> None:
    with pytest.raises(Conflict):
        async with store.transaction() as db:
            await db.execute(text("INSERT INTO members SELECT * FROM members"))


async def test_a_fault_of_ours_is_not_the_databases(store: Store) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        async with store.transaction() as db:
            await db.execute(text("SELECT nonsense"))
    await store.ping()


async def test_a_slow_statement_ends(hasty: Store) -> None:
    """By the server: the connection is still there."""
    backend = text("SELECT pg_backend_pid()")
    begun = time.monotonic()
    async with hasty.transaction() as db:
        before = (await db.execute(backend)).scalar_one()
    with pytest.raises(Unavailable):
        async with hasty.transaction() as db:
            await db.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - begun < 20
    async with hasty.transaction() as db:
        assert (await db.execute(backend)).scalar_one() == before


async def test_a_lock_is_not_waited_for_without_end(hasty: Store, session: SessionId) -> None:
    async with hasty.transaction() as holder:
        await sessions.lock(holder, session)
        with pytest.raises(Unavailable):
            async with hasty.transaction() as db:
                await sessions.lock(db, session)


async def test_a_full_pool_is_not_waited_for_without_end(hasty: Store) -> None:
    async with hasty.transaction(), hasty.transaction():
        begun = time.monotonic()
        with pytest.raises(NotBegun):
            async with hasty.transaction():
                raise AssertionError("there is no third connection")
        assert time.monotonic() - begun < 15


async def test_a_killed_connection_costs_one_transaction(store: Store, cluster: Cluster, dsn: str) -> None:
    database = dsn.split("?")[0].rsplit("/", 1)[1]
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"

    async def unlucky() -> None:
        async with store.transaction() as db:
            await db.execute(text("SELECT 1"))
            await cluster.execute(kill)
            await db.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await unlucky()
    await store.ping()
    assert store.pool_in_use == 0


async def test_a_cancelled_transaction_gives_its_connection_back(store: Store, session: SessionId) -> None:
    async def stuck() -> None:
        async with store.transaction() as db:
            await sessions.lock(db, session)

    async with asyncio.TaskGroup() as tasks, store.transaction() as holder:
        await sessions.lock(holder, session)
        task = tasks.create_task(stuck())
        await somebody_waits(store)
        task.cancel()
    assert store.pool_in_use == 0
    await store.ping()


async def test_what_a_server_that_went_away_did_not_begin_may_be_tried_again(server: Server) -> None:
    """On a connection that has ended meanwhile, and when there is none to be had."""
    store = Store(server.dsn)

    async def begin() -> None:
        async with store.transaction():
            raise AssertionError("it has not begun")

    try:
        await store.ping()
        server.postgres.stop()
        for _ in range(2):
            with pytest.raises(NotBegun):
                await begin()
        assert store.pool_in_use == 0
    finally:
        server.postgres.start()
        await store.close()


async def test_a_stopped_server_is_unavailable_and_comes_back(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(server.dsn, tells=True)
    try:
        await store.ping()
        server.postgres.stop()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.ping()
        assert not store.connected
        (told,) = [line for line in caplog.messages if line.startswith("PostgreSQL does not answer")]
        assert told.startswith("PostgreSQL does not answer: FileNotFoundError"), "why, and not for each that asks"
        server.postgres.start()
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.ping()
                    break
                except Unavailable:
                    continue
        assert store.connected
        assert store.pool_in_use == 0
    finally:
        await store.close()


async def test_a_frozen_server_is_unavailable_in_time(server: Server) -> None:
    store = Store(server.dsn, command_timeout_s=3)
    try:
        await store.ping()
        with server.frozen():
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                async with store.transaction() as db:
                    await db.execute(text("SELECT 1"))
            assert time.monotonic() - begun < 3 + 1.8  # nobody waits for a goodbye from a silent server: that takes 2 s
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                await store.ping(timeout_s=1)
            assert time.monotonic() - begun < 1 + 1.8
        await store.ping()
        assert store.pool_in_use == 0
    finally:
        await store.close()


async def test_a_transaction_that_a_frozen_server_does_not_begin_may_be_tried_again(server: Server) -> None:
    store = Store(server.dsn, command_timeout_s=2, pool_timeout_s=0.3)
    try:
        await store.ping()
        with server.frozen(), pytest.raises(NotBegun):
            async with store.transaction():
                raise AssertionError("it has not begun")
        assert store.pool_in_use == 0
        await store.ping()
    finally:
        await store.close()


async def test_a_transaction_is_left_at_once_when_its_server_has_fallen_silent(server: Server) -> None:
    store = Store(server.dsn)
    try:
        with ExitStack() as stack:

            async def cut_off() -> None:
                async with asyncio.timeout(0.3), store.transaction() as db:
                    await db.execute(text("SELECT 1"))
                    stack.enter_context(server.frozen())
                    await db.execute(text("SELECT 1"))

            begun = time.monotonic()
            with pytest.raises(TimeoutError):
                await cut_off()
            assert time.monotonic() - begun < 0.3 + 1.8
        assert store.pool_in_use == 0
        await store.ping()
    finally:
        await store.close()


async def test_nobody_listens() -> None:
    store = Store("postgresql://hub@/hub?host=/nowhere")
    with pytest.raises(Unavailable):
        await store.ping()
    await store.close()


async def test_schema_version(store: Store, cluster: Cluster) -> None:
    assert await store.schema_version() == migrate.head_revision()
    bare = Store(cluster.named("postgres"))
    assert await bare.schema_version() is None
    await bare.close()


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u:p%40w@db.example:5433/hub", "postgresql+asyncpg://u:p%40w@db.example:5433/hub"),
        ("postgresql+asyncpg://u@h/hub", "postgresql+asyncpg://u@h/hub"),
        ("postgres://u@h/hub", "postgresql+asyncpg://u@h/hub"),
        ("postgresql://hub@/hub?host=/run/x", "postgresql+asyncpg://hub@/hub?host=%2Frun%2Fx"),
        ("postgresql://u@h/hub?sslmode=require", "postgresql+asyncpg://u@h/hub?ssl=require"),
        (
            "postgresql://u@h/hub?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgresql+asyncpg://u@h/hub?dsn=postgresql%3A%2F%2F%3Fsslmode%3Dverify-full%26sslrootcert%3D%252Fca.pem",
        ),
    ],
)
def test_urls(dsn: str, expected: str) -> None:
    assert driver_url(dsn).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "dsn",
    ["mysql://u@h/hub", "sqlite://", "hub", "", "postgresql://u@h/hub?sslmode=require&channel_binding=require"],
)
def test_other_databases_are_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match="database URL"):
        driver_url(dsn)


_BACKEND = text("SELECT pg_backend_pid()")


async def test_few_connections_serve_many(dsn: str) -> None:
    """Who finds none free waits for one to be given back: a connection is dear, and a statement short."""
    store = Store(dsn, pool_size=12, pool_patience_s=60)
    used = set[int]()

    async def ask() -> None:
        async with store.statements() as db:
            used.add((await db.execute(_BACKEND)).scalar_one())

    try:
        await store.fill_pool()
        async with asyncio.timeout(30):
            await asyncio.gather(*(ask() for _ in range(40)))
        assert len(used) <= FEW
        assert store.pool_in_use == 0
    finally:
        await store.close()


async def test_nobody_waits_for_those_who_keep_their_connection(dsn: str) -> None:
    """And what is given back is handed to who waits, also when others gave up before."""
    store = Store(dsn, pool_size=6, pool_timeout_s=10)
    used = set[int]()
    leave = asyncio.Event()

    async def keep(arrived: asyncio.Semaphore) -> None:
        async with store.statements() as db:
            used.add((await db.execute(_BACKEND)).scalar_one())
            arrived.release()
            await leave.wait()

    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            arrived = asyncio.Semaphore(0)
            for _ in range(6):
                tasks.create_task(keep(arrived))
            for _ in range(6):
                await arrived.acquire()
            assert (len(used), store.pool_in_use) == (6, 6)
            gave_up = [tasks.create_task(keep(arrived)) for _ in range(3)]
            waits = tasks.create_task(keep(arrived))
            await asyncio.sleep(0)  # they stand in the queue now
            for one in gave_up:
                one.cancel()
            await asyncio.wait(gave_up)
            assert not waits.done()
            leave.set()
            await waits
        assert len(used) == 6
        assert store.pool_in_use == 0
        await store.ping()
    finally:
        await store.close()


async def test_a_place_that_comes_with_a_cancellation_is_passed_on(dsn: str) -> None:
    store = Store(dsn, pool_size=1, pool_timeout_s=10)

    async def ask() -> None:
        async with store.statements() as db:
            await db.execute(_BACKEND)

    try:
        for _ in range(10):
            async with store.statements() as db:
                await db.execute(_BACKEND)
                waits = asyncio.ensure_future(ask())
                await asyncio.sleep(0)
            waits.cancel()  # it has been handed the place, and does not know yet
            await asyncio.wait([waits])
            assert waits.cancelled()
            async with asyncio.timeout(10):
                await ask()
            assert store.pool_in_use == 0
    finally:
        await store.close()
