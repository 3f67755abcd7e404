"""The pool of connections to PostgreSQL, and transactions on it.

Every wait has a deadline: for a free connection, for connecting, for a lock, for each statement. Whatever goes wrong
with the database itself becomes `Unavailable`; the caller may try again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import NoReturn, TypeAlias
from urllib.parse import urlencode

import asyncpg
from sqlalchemy import URL, TextClause, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from hub.domain.errors import Conflict, Unauthenticated, Unavailable
from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.principal import Principal
from hub.store.pool import PATIENCE_S, Pool
from hub.store.transaction import Compiled, Reader, Transaction
from hub.telemetry.times import Times

Db: TypeAlias = Transaction
"""A transaction in progress."""

POOL_TIMEOUT_S = 3.0
IDLE_IN_TRANSACTION_MS = 10_000
SCOPE = "app.org"  # whose rows are seen, as the policies of the tables have it
TOLD_EVERY_S = 10.0  # in the log, while the database does not answer
ANSWERS_S = 0.25  # how long ago a database that answers has answered something

logger = logging.getLogger(__name__)

# Classes and codes of SQLSTATE that are the database's trouble, not ours: connection, credentials, no such database,
# rolled back by a conflict between transactions, out of resources, operator, system.
_TROUBLE = ("08", "28", "3D", "40", "53", "57", "58", "25006", "25P03", "55P03")
_UNIQUE_VIOLATION = "23505"

# What a URL may say behind its question mark: of where and who, and of TLS, as libpq has it.
_WHERE = {"host", "port", "user", "password", "database", "passfile", "ssl", "target_session_attrs", "krbsrvname"}
_TLS_BESIDE_MODE = {
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
}
_TLS = {"sslmode", *_TLS_BESIDE_MODE}

_PING = text("SELECT current_setting('transaction_read_only') = 'on'")
_HAS_VERSION = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_VERSION = text("SELECT version_num FROM alembic_version")


class NotBegun(Unavailable):
    """There was no connection, or no BEGIN on it: nothing was done, so the same may be tried again whatever it is."""


def driver_url(dsn: str) -> URL:
    """A `postgresql://` URL as SQLAlchemy needs it for asyncpg. ValueError for what is no such URL.

    The folder of a Unix socket goes into the query: `postgresql://hub@/hub?host=/dir`. libpq's parameters of TLS are
    understood (`sslmode=verify-full&sslrootcert=/ca.pem`); one that is not is refused, for it may be there to protect.
    """
    try:
        url = make_url(dsn)
    except ArgumentError:
        raise ValueError("the database URL cannot be read") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("the database URL must begin with postgresql://")
    if unknown := sorted(url.query.keys() - _WHERE - _TLS):
        raise ValueError(f"the database URL has {', '.join(unknown)}, which the hub does not understand: leave it out")
    tls = {name: value for name, value in url.query.items() if name in _TLS}
    url = url.difference_update_query(tls)
    if tls.keys() & _TLS_BESIDE_MODE:  # the driver has no arguments for these, but reads them in a URL
        url = url.update_query_dict({"dsn": "postgresql://?" + urlencode(tls)})
    elif tls:
        url = url.update_query_dict({"ssl": tls["sslmode"]})
    return url.set(drivername="postgresql+asyncpg")


class Store:
    """The hub's PostgreSQL.

    `dsn` is a `postgresql://` URL. `pool_size` bounds the connections of this process; `command_timeout_s` one
    statement, seen from the client. The server gives up a little earlier, which costs no connection. `pool_timeout_s`
    is how long one waits for a free connection, and then for a transaction to begin; `pool_patience_s`, how long for
    one of the few that are enough most of the time. With `tells` the log says why the database does not answer, for
    workers, whose callers are only told that they may try again.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 8,
        command_timeout_s: float = 4.0,
        pool_timeout_s: float = POOL_TIMEOUT_S,
        pool_patience_s: float = PATIENCE_S,
        tells: bool = False,
    ) -> None:
        self._compiled: dict[TextClause, Compiled] = {}  # bounded by the store's own statements
        self._pool_timeout_s = pool_timeout_s
        self.waits = Times()  # for a connection of the pool
        self._answered_at = float("-inf")
        self.connected = True  # the last time that somebody asked
        self._told_at = float("-inf") if tells else float("inf")
        self._pool = Pool(
            driver_url(dsn),
            size=pool_size,
            wait_s=pool_timeout_s,
            patience_s=pool_patience_s,
            command_timeout_s=command_timeout_s,
            settings={
                "application_name": "agent-hub",
                "statement_timeout": str(int(command_timeout_s * 800)),
                "lock_timeout": str(int(command_timeout_s * 600)),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
                "jit": "off",
                # Else a firewall on the way forgets a connection that rests, and who takes it next waits in vain.
                "tcp_keepalives_idle": "60",
                "tcp_keepalives_interval": "10",
                "tcp_keepalives_count": "6",
                SCOPE: "*",  # until a transaction is for somebody
            },
        )

    @asynccontextmanager
    async def transaction(
        self,
        lock: SessionId | None = None,
        *,
        person: UserId | None = None,
        also: OrganisationId | None = None,
        session: SessionId | None = None,
    ) -> AsyncGenerator[Db]:
        """BEGIN … COMMIT, or ROLLBACK when the body raises. Await nothing but the store in it.

        What is done for a `person` sees and touches only rows of organisations that they belong to, and of `also`,
        whatever the statements say: the database sees to it. It does so faster for rows of a `session` that is named.
        Without a person it is the hub's own work, which sees all.

        `lock` keeps others from writing in that session until the end, if there is such a session, without a round trip
        of its own; what is read then is as of after the wait.

        Raises `Unavailable` for trouble with the database, also at COMMIT (the outcome is then unknown), and `Conflict`
        when a row that must be unique is there already. `NotBegun`, an `Unavailable`, before the body.
        """
        async with self._connection() as db:
            try:
                await self._begin(db, lock, person, also, session)
                yield db
                if db.is_open:
                    await db.commit()
            except (TimeoutError, asyncio.CancelledError):
                raise  # the server is silent, or nobody waits any more: a ROLLBACK would wait as long again
            except BaseException:
                if db.is_open:
                    await db.rollback()
                raise

    @asynccontextmanager
    async def statements(self) -> AsyncGenerator[Db]:
        """Each statement is a transaction of its own: for single statements, and for reads that need not fit together.

        It saves two round trips. It is always the hub's own work, which sees the rows of all organisations. Raises as
        `transaction` does.
        """
        async with self._connection() as db:
            db.begin_nothing()
            yield db

    @asynccontextmanager
    async def reads(self, principal: Principal, session: SessionId | None = None) -> AsyncGenerator[Db]:
        """Each statement is a transaction of its own, in one round trip, for reads that need not fit together: for the
        principal, like a `transaction` for a person, and about a `session`: if they are not in it, nothing is there.
        `Db.seen` says what they are.

        Each asks first whether the credential still holds, and raises `Unauthenticated` when it has ended; else it
        raises as `transaction` does.
        """
        if principal.expires_at <= datetime.now(UTC):
            raise Unauthenticated("the credential has ended")
        key = principal.credential.removeprefix("key:") if principal.credential.startswith("key:") else None
        version = principal.auth_version if key is None else None  # another password is none of a key's business
        async with self._connection() as db:
            db.begin_reading(Reader(principal.user, session, version, principal.grant, key))
            yield db

    async def _begin(
        self,
        db: Db,
        lock: SessionId | None,
        person: UserId | None,
        also: OrganisationId | None,
        session: SessionId | None,
    ) -> None:
        try:
            async with asyncio.timeout(self._pool_timeout_s):
                with translated():
                    await db.begin(lock, person=person, also=also, session=session)
        except TimeoutError as e:
            db.abandon()
            self._failed(e)
            raise NotBegun("the database does not answer", retry_after=1) from e
        except Unavailable as e:
            self._failed(e)
            raise NotBegun(e.message, retry_after=1) from e

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Db]:
        began = time.monotonic()
        try:
            with translated():
                connection = await self._pool.take()
            self.waits.add(time.monotonic() - began)
        except Unavailable as e:
            self._failed(e)
            raise NotBegun(e.message, retry_after=1) from e
        db = Transaction(connection, self._compiled)
        with translated():
            try:
                yield db
                self._answered_at = time.monotonic()
                self.connected = True
            except (TimeoutError, asyncpg.ReadOnlySQLTransactionError) as e:
                self._failed(e)
                db.abandon()  # of a standby, too: another connection may lead to who is the primary now
                raise
            except asyncio.CancelledError:
                db.abandon()
                raise
            finally:
                self._pool.give_back(connection)

    def _failed(self, error: BaseException) -> None:
        self.connected = False
        now = time.monotonic()
        if now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        while error.__cause__ is not None:
            error = error.__cause__
        why = str(error).partition("\n")[0]
        logger.warning("PostgreSQL does not answer: %s", f"{type(error).__name__}: {why}" if why else "not in time")

    async def fill_pool(self) -> None:
        """Open the few connections that are enough most of the time, before anybody waits for them. What cannot be
        opened now is opened when it is needed."""
        await self._pool.fill()

    @property
    def answers(self) -> bool:
        """Whether the database has answered something just now. One that has not may be idle, or silent."""
        return time.monotonic() - self._answered_at < ANSWERS_S

    async def ping(self, timeout_s: float = 2) -> None:
        """Ask the database for a sign of life. Raises `Unavailable` when there is none within `timeout_s` seconds, and
        when it takes no writes: then this connection is given up, for another may lead to who does."""
        with translated():
            async with asyncio.timeout(timeout_s), self.statements() as db:
                if (await db.execute(_PING)).scalar_one():
                    db.abandon()
                    standby = Unavailable("the database takes no writes")
                    self._failed(standby)
                    raise standby

    async def schema_version(self) -> str | None:
        """The revision of the schema in the database; None when it was never migrated. Raises `Conflict` for a role
        that nobody has let in."""
        try:
            async with self.transaction() as db:
                if not (await db.execute(_HAS_VERSION)).scalar_one():
                    return None
                version: str | None = (await db.execute(_VERSION)).scalar_one_or_none()
                return version
        except asyncpg.InsufficientPrivilegeError as e:
            raise Conflict("the role of the database URL may not read the hub's tables") from e

    @property
    def pool_in_use(self) -> int:
        """How many connections are taken out of the pool."""
        return self._pool.taken

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


@contextmanager
def translated() -> Generator[None]:
    """Turns what the driver raises for trouble with the database into `Unavailable`, and for a row that must be unique
    and is not, into `Conflict`. Everything else is a fault of ours and passes."""
    try:
        yield
    except DBAPIError as e:
        _raise_translated(e, getattr(e.orig, "sqlstate", None), lost=e.connection_invalidated)
    except asyncpg.PostgresError as e:
        _raise_translated(e, e.sqlstate, lost=False)
    except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as e:
        raise Unavailable("the database does not answer") from e


def _raise_translated(error: Exception, sqlstate: str | None, *, lost: bool) -> NoReturn:
    if lost or (sqlstate is not None and sqlstate.startswith(_TROUBLE)):
        raise Unavailable("the database does not answer") from error
    if sqlstate == _UNIQUE_VIOLATION:
        raise Conflict("it exists already") from error
    raise error
