"""How Alembic reaches the database. The URL is handed over in `config.attributes["dsn"]` (hub/store/migrate.py), else
it is HUB_DATABASE_URL: never in alembic.ini, where a `%` would need care.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from hub.settings import Settings
from hub.store.database import driver_url
from hub.store.tables import Base

MIGRATIONS = 0x6875625F6D6967  # the advisory lock that one migration at a time holds: "hub_mig"
TURN_TIMEOUT_S = 120.0
TURN_PAUSE_S = 0.1
LOCK_TIMEOUT = "1s"  # of each lock a migration needs: behind it everybody would queue
# Whatever is set for the role or the database: a migration takes as long as it takes, and the lock is held meanwhile.
SETTINGS = {
    "application_name": "agent-hub migrate",
    "app.org": "*",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


def database_url() -> str:
    handed: str | None = context.config.attributes.get("dsn")
    if handed is not None:
        return handed
    settings = Settings()
    if settings.database_url is None:
        raise SystemExit("set HUB_DATABASE_URL to the database that is meant, postgresql://…")
    return settings.database_url.get_secret_value()


def run_offline() -> None:
    """Write the SQL instead of executing it (`alembic upgrade head --sql`)."""
    context.configure(
        url=driver_url(database_url()),
        target_metadata=Base.metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_online() -> None:
    engine = create_async_engine(
        driver_url(database_url()),
        poolclass=pool.NullPool,
        connect_args={"timeout": 10, "server_settings": SETTINGS},
    )
    try:
        # The lock has a connection of its own: it must outlive the transactions of the migrations.
        async with engine.connect() as holder, engine.connect() as db:
            await holder.execution_options(isolation_level="AUTOCOMMIT")
            async with asyncio.timeout(TURN_TIMEOUT_S):
                # Asked again and again: an index that is built concurrently waits for statements that wait.
                while not await mine(holder):  # noqa: ASYNC110 - a database has no event
                    await asyncio.sleep(TURN_PAUSE_S)
            await db.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            await db.commit()
            await db.run_sync(run_on)
    finally:
        await engine.dispose()


async def mine(holder: AsyncConnection) -> bool:
    """Whether it is our turn to migrate now."""
    return bool((await holder.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATIONS})).scalar())


def run_on(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online())
