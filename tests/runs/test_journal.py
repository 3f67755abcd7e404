"""How a run writes when the database is crowded."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from hub.domain.ids import SessionId, UserId
from hub.domain.run import Lease, MessageStatus
from hub.domain.team import AgentSpec
from hub.engine.base import AgentStarted
from hub.protocol.frames import LoggedEvent, NewEvent
from hub.protocol.live import AgentStatusData
from hub.relay import envelope
from hub.relay.broadcast import Broadcast
from hub.relay.pipeline import ignored
from hub.relay.wire import encode
from hub.runs.journal import Journal
from hub.runs.lease import HeldLease
from hub.runs.turn import Turn
from hub.store import log
from hub.store.database import Db, Store
from hub.store.log import LeaseLost
from hub.store.messages import AgentMessage
from hub.store.migrate import upgrade
from tests.conftest import short_dir
from tests.relay.wiring import ear, eventually, own_valkey, relay
from tests.store.conftest import event, make_lease, make_session, make_user
from tests.store.test_database import Server

POOL_TIMEOUT_S = 0.05


@pytest.fixture
async def lease(store: Store) -> Lease:
    async with store.transaction() as db:
        user: UserId = await make_user(db, "Alice")
        session: SessionId = await make_session(db, user)
    return await make_lease(store, session, user)


@asynccontextmanager
async def crowded(dsn: str, redis_url: str, held: HeldLease) -> AsyncIterator[tuple[Store, Journal]]:
    """A journal whose store has a single connection."""
    store = Store(dsn, pool_size=1, pool_timeout_s=POOL_TIMEOUT_S)
    async with relay(redis_url) as one:
        yield store, Journal(store, Broadcast(one.publisher), held)
    await store.close()


async def waits(task: "asyncio.Task[object]") -> bool:
    """Whether it goes on after it was refused a connection several times."""
    done, _ = await asyncio.wait([task], timeout=6 * POOL_TIMEOUT_S)
    return not done


async def test_it_waits_for_a_connection_as_long_as_the_lease_stands(dsn: str, redis_url: str, lease: Lease) -> None:
    held = HeldLease(lease, time.monotonic() + 60)
    async with crowded(dsn, redis_url, held) as (store, journal), asyncio.TaskGroup() as tasks:
        async with store.statements():
            writing = tasks.create_task(journal.append([event(run=lease.run)]))
            assert await waits(writing)
        [written] = await writing
        async with store.statements() as db:
            assert [logged.seq for logged in await log.read(db, lease.session, after=0, limit=10)] == [written.seq]


async def test_it_does_not_wait_longer_than_that(dsn: str, redis_url: str, lease: Lease) -> None:
    held = HeldLease(lease, time.monotonic() + 60)
    async with crowded(dsn, redis_url, held) as (store, journal), store.statements():
        writing = asyncio.create_task(journal.append([event(run=lease.run)]))
        assert await waits(writing)
        held.lose()
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(30):
                await writing


async def test_a_write_that_the_fence_stops_is_counted(dsn: str, redis_url: str, store: Store, lease: Lease) -> None:
    held = HeldLease(lease, time.monotonic() + 60)
    async with store.statements() as db:
        await db.connection.execute("UPDATE runs SET lease_epoch = lease_epoch + 1")
    async with crowded(dsn, redis_url, held) as (store, journal):
        with pytest.raises(LeaseLost):
            await journal.append([event(run=lease.run)])
    assert held.refused


async def test_what_has_not_left_when_the_lease_runs_out_is_not_published(store: Store, lease: Lease) -> None:
    """As when the worker is frozen: what it said before must not come out when it wakes."""
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            listener = await ear(one, lease.session)
            held = HeldLease(lease, time.monotonic() + 1.5)
            journal = Journal(store, Broadcast(one.publisher), held)
            valkey.freeze()
            one.pipeline.submit(encode(b"PING"), ignored)
            await asyncio.sleep(0.01)  # that is under way, and nothing else leaves before it is answered
            journal.live(AgentStatusData(agent="alpha", status="idle"))
            [written] = await journal.append([event(run=lease.run)])
            await eventually(lambda: not held.has_time())
            one.publisher.publish(lease.session, envelope.live(lease.session, b'{"the":"end"}'))
            valkey.thaw()
            await eventually(lambda: listener.heard)
            assert [item.frame for item in listener.heard] == [b'{"the":"end"}']
            async with store.statements() as db:
                assert [logged.seq for logged in await log.read(db, lease.session, after=0, limit=9)] == [written.seq]


async def test_it_outlives_a_database_that_is_started_anew(redis_url: str) -> None:
    """What a run has to write waits for PostgreSQL; nothing of the run is done again."""
    home = short_dir()
    server = Server(home / "pg")
    await asyncio.to_thread(upgrade, server.dsn)
    store = Store(server.dsn)
    try:
        async with store.transaction() as db:
            user = await make_user(db, "Alice")
            session = await make_session(db, user)
        lease = await make_lease(store, session, user)
        async with relay(redis_url) as one, asyncio.TaskGroup() as tasks:
            journal = Journal(store, Broadcast(one.publisher), HeldLease(lease, time.monotonic() + 60))
            await journal.append([event(run=lease.run)])
            async with store.statements() as db:
                assert not db.was_cut_off
                server.postgres.stop()
                assert db.was_cut_off  # before anything of that came through to here
            assert store.answers  # just now it did: what is written next would not ask for long
            writing = tasks.create_task(journal.append([event(run=lease.run)]))
            assert await waits(writing)
            server.postgres.start()
            [written] = await writing
        async with store.statements() as db:
            assert [logged.seq for logged in await log.read(db, session, after=0, limit=9)] == [1, written.seq]
    finally:
        await store.close()
        server.postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


SLOW_COMMIT = """
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.type = 'turn.started') EXECUTE FUNCTION slow_commit();
"""
FAST_COMMIT = "DROP TRIGGER slow_commit ON events; DROP FUNCTION slow_commit()"
COMMITTING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state = 'active'"


class End:
    """Of a turn that leaves nothing but events."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def write(self, db: Db, _: list[AgentMessage], events: Sequence[NewEvent], __: int) -> list[LoggedEvent]:
        return await log.append(db, self._lease.session, events, lease=self._lease)

    alone = write

    async def also(self, _: Db, __: list[LoggedEvent], /) -> Sequence[NewEvent]:
        return ()


async def test_a_stop_that_comes_while_a_turn_is_recorded_has_nothing_told_twice(
    store: Store, dsn: str, redis_url: str, lease: Lease
) -> None:
    """The COMMIT of the turn's beginning is under way when the turn is stopped."""

    agent = AgentSpec(name="alpha", display_name="Alpha")
    database = await asyncpg.connect(dsn)
    await database.execute(SLOW_COMMIT)
    try:
        async with relay(redis_url) as one, asyncio.TaskGroup() as tasks:
            journal = Journal(store, Broadcast(one.publisher), HeldLease(lease, time.monotonic() + 60))
            journal.hold_back(event(1, lease.run))
            turn = Turn(journal, one.deltas, turn=0, attempt=1)
            beginning = tasks.create_task(turn.emit(AgentStarted(agent)))
            async with asyncio.timeout(30):
                while not await database.fetchval(COMMITTING):  # noqa: ASYNC110 (it happens in PostgreSQL)
                    await asyncio.sleep(0.01)
            beginning.cancel()
            await asyncio.wait({beginning})
            assert beginning.cancelled()
            await turn.end(MessageStatus.INTERRUPTED, [event(2, lease.run)], End(lease))
        async with store.statements() as db:
            told = [logged.type for logged in await log.read(db, lease.session, after=0, limit=9)]
        assert told == ["run.queued", "turn.started", "run.queued"]
        assert store.pool_in_use == 0
    finally:
        await database.execute(FAST_COMMIT)
        await database.close()
