"""Bringing the schema of a database up to this version of the hub, with Alembic.

Not for use inside a running event loop: these functions run one of their own.
"""

import asyncio
import io
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from hub.domain.errors import Conflict, Unavailable
from hub.store import roles
from hub.store.database import Store, translated

LOCK_NOT_AVAILABLE = "55P03"
PAUSE_S = 0.5  # lets the traffic through that had queued behind the migration's last try


def configuration(dsn: str | None = None) -> Config:
    """Alembic's configuration for this database; without `dsn` enough to read the migrations. What Alembic would print
    goes nowhere."""
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    return config


def upgrade(dsn: str, revision: str = "head", *, patience_s: float = 60) -> None:
    """Bring the schema up to `revision`. Several may call it at once: one works, the others find it done.

    A migration that cannot get a lock within a second gives way to the traffic and tries again, for `patience_s`
    seconds. Raises `Unavailable` when the database does not answer or is too busy, and `Conflict` when its schema is
    of another version of the hub that this one does not know.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with translated():
                command.upgrade(configuration(dsn), revision)
        except Unavailable as e:
            if not _is_lock_timeout(e.__cause__):
                raise
            if time.monotonic() > deadline:
                raise Unavailable("the database is too busy to be migrated") from e
            time.sleep(PAUSE_S)
        except CommandError as e:
            raise Conflict("the schema of the database is of another version of the hub") from e
        else:
            return


def let_in(dsn: str, application: str) -> None:
    """Give the role by which the hub works (that of the URL `application`) what it needs in a database that `dsn` owns,
    and nothing else: it reads and writes rows and changes no schema. It is made when there is none.

    Raises `Unavailable`, ValueError for a URL without a role, and `Conflict` when the owner may not do that.
    """
    asyncio.run(_let_in(dsn, application))


async def _let_in(dsn: str, application: str) -> None:
    store = Store(dsn, pool_size=1)
    try:
        await roles.let_in(store, application)
    finally:
        await store.close()


def downgrade(dsn: str, revision: str) -> None:
    """Take the schema back to `revision` (`base`: nothing is left). Raises `Unavailable`, and `Conflict` when it is
    none of those that the schema came from."""
    try:
        with translated():
            command.downgrade(configuration(dsn), revision)
    except CommandError as e:
        raise Conflict(f"the schema cannot be taken back to {revision}") from e


def knows(revision: str) -> bool:
    """Whether this version of the hub has the migration; one that it has not is of a newer version."""
    try:
        return ScriptDirectory.from_config(configuration()).get_revision(revision) is not None
    except CommandError:
        return False


def head_revision() -> str:
    """The revision this version of the hub works on."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None, "the hub comes with migrations"
    return head


def current(dsn: str) -> str | None:
    """The revision of the schema in the database; None when it was never migrated. Raises `Unavailable`."""
    return asyncio.run(_current(dsn))


async def _current(dsn: str) -> str | None:
    store = Store(dsn, pool_size=1)
    try:
        return await store.schema_version()
    finally:
        await store.close()


def _is_lock_timeout(error: BaseException | None) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE


def _migrations() -> Path:
    """The folder of the migrations: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"
