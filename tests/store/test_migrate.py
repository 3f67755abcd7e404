"""Migrations lead to the very schema the models describe, and back, with several hubs and under traffic."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from hub.domain.errors import Conflict, Unavailable
from hub.store import migrate
from hub.store.database import driver_url
from hub.store.tables import Base
from tests.conftest import Cluster

SCHEMA = """
    SELECT 'column' AS kind, concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default,
                                       is_identity, identity_generation) AS what
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'sequence', concat_ws(' ', sequencename, data_type, start_value, increment_by, cache_size)
    FROM pg_sequences WHERE schemaname = 'public'
    UNION ALL SELECT 'options', concat_ws(' ', relname, reloptions) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
"""


@pytest.fixture
async def empty(cluster: Cluster) -> AsyncIterator[str]:
    """A database in which nothing is."""
    await cluster.execute("CREATE DATABASE bare TEMPLATE template0 STRATEGY file_copy")
    yield cluster.named("bare")
    await cluster.drop(cluster.named("bare"))


async def schema(dsn: str) -> set[tuple[str, str]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = {(row["kind"], row["what"]) for row in await connection.fetch(SCHEMA)}
    finally:
        await connection.close()
    return {(kind, what) for kind, what in found if "alembic_version" not in what}


async def test_migrations_and_models_agree(dsn: str, empty: str) -> None:
    engine = create_async_engine(driver_url(empty))
    async with engine.begin() as db:
        await db.run_sync(Base.metadata.create_all)
    await engine.dispose()
    assert await schema(dsn) == await schema(empty)


async def test_alembic_sees_no_difference(dsn: str) -> None:
    await asyncio.to_thread(command.check, migrate.configuration(dsn))


async def test_alembic_would_see_a_difference(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("ALTER TABLE users DROP COLUMN is_admin")
    await connection.close()
    with pytest.raises(Exception, match="is_admin"):
        await asyncio.to_thread(command.check, migrate.configuration(dsn))


async def test_down_and_up_again(dsn: str) -> None:
    before = await schema(dsn)
    await asyncio.to_thread(migrate.downgrade, dsn, "base")
    assert await schema(dsn) == set()
    assert await asyncio.to_thread(migrate.current, dsn) is None
    await asyncio.to_thread(migrate.upgrade, dsn)
    assert await schema(dsn) == before
    assert await asyncio.to_thread(migrate.current, dsn) == migrate.head_revision()
    await asyncio.to_thread(migrate.upgrade, dsn)  # nothing to do


async def test_the_sql_can_be_had_without_a_database() -> None:
    config = migrate.configuration("postgresql://nobody@nowhere/hub")
    config.output_buffer = io.StringIO()
    await asyncio.to_thread(command.upgrade, config, "head", sql=True)
    assert "CREATE TABLE sessions" in config.output_buffer.getvalue()


async def test_two_hubs_may_migrate_at_once(empty: str) -> None:
    """In processes of their own, as hubs are: Alembic keeps its state in a module."""
    program = "import sys; from hub.store.migrate import upgrade; upgrade(sys.argv[1])"
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty) for _ in range(3)]
    async with asyncio.timeout(30):
        assert [await process.wait() for process in processes] == [0, 0, 0]
    assert await asyncio.to_thread(migrate.current, empty) == migrate.head_revision()


async def test_a_migration_gives_way_to_traffic_and_tries_again(dsn: str) -> None:
    await asyncio.to_thread(migrate.downgrade, dsn, "base")
    traffic, observer = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    tries: set[int] = set()
    async with asyncio.TaskGroup() as tasks:
        async with traffic.transaction():
            await traffic.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable, match="busy"):
                await asyncio.to_thread(migrate.upgrade, dsn, patience_s=0)
            upgrading = tasks.create_task(asyncio.to_thread(migrate.upgrade, dsn))
            async with asyncio.timeout(30):
                while len(tries) < 2:
                    tries |= {
                        row["pid"]
                        for row in await observer.fetch(
                            "SELECT pid FROM pg_stat_activity"
                            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                        )
                    }
        async with asyncio.timeout(30):
            await upgrading
    await traffic.close()
    await observer.close()
    assert await asyncio.to_thread(migrate.current, dsn) == migrate.head_revision()


async def test_a_schema_from_the_future_is_refused(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(Conflict, match="another version"):
        await asyncio.to_thread(migrate.upgrade, dsn)


@pytest.mark.parametrize("dsn", ["postgresql://hub@/hub?host=/nowhere", "postgresql://hub@127.0.0.1:1/hub"])
async def test_no_database(dsn: str) -> None:
    with pytest.raises(Unavailable):
        await asyncio.to_thread(migrate.upgrade, dsn)
    with pytest.raises(Unavailable):
        await asyncio.to_thread(migrate.current, dsn)
