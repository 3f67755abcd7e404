"""Where the hub's services are for a command that is not the hub itself."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from pydantic import SecretStr

from hub.embedded.lock import DataDirInUse, DataDirLock, read_note
from hub.process.bring_up import check_addresses, migrated, operator_errors
from hub.process.exits import CannotStart
from hub.process.services import Services
from hub.settings import Settings


@contextmanager
def database(settings: Settings) -> Generator[str]:
    """The address of the hub's database. An embedded one is started, and stopped afterwards, unless a hub runs."""
    check_addresses(settings)
    if settings.database_url is not None:
        with operator_errors():
            yield settings.database_url.get_secret_value()
        return
    with embedded(settings) as services:
        if services is None:
            yield _noted(settings, "database_url")
        else:
            with operator_errors():
                dsn = migrated(services.postgres())
            yield dsn


@contextmanager
def complete(settings: Settings) -> Generator[Settings]:
    """The settings with the addresses of the services a hub would bring along, which run meanwhile."""
    check_addresses(settings)
    if not settings.embedded:
        yield settings
        return
    with embedded(settings) as services:
        changes: dict[str, object] = {}
        with operator_errors():
            if settings.database_url is None:
                dsn = services.postgres() if services is not None else _noted(settings, "database_url")
                changes["database_url"] = SecretStr(migrated(dsn) if services is not None else dsn)
            if settings.redis_url is None:
                url = services.valkey() if services is not None else _noted(settings, "redis_url")
                changes["redis_url"] = SecretStr(url)
        yield settings.model_copy(update=changes)


def with_local_model(settings: Settings) -> Settings:
    """The settings with the address of the local model that a running hub has started, if one has."""
    address = read_note(settings.data_dir).get("local_model_url")
    if settings.local_model_url is not None or address is None:
        return settings
    return settings.model_copy(update={"local_model_url": address})


@contextmanager
def embedded(settings: Settings) -> Generator[Services | None]:
    """Services of our own, alone with the data directory; None when a running hub has them."""
    with ExitStack() as stack:
        try:
            with operator_errors():
                stack.enter_context(DataDirLock(settings.data_dir))
        except CannotStart as e:
            if not isinstance(e.__cause__, DataDirInUse):
                raise
            yield None
            return
        services = Services(settings.data_dir)
        stack.callback(services.stop)
        yield services


def _noted(settings: Settings, name: str) -> str:
    """An address that the running hub has written down."""
    address = read_note(settings.data_dir).get(name)
    if address is None:
        raise CannotStart("A hub is just starting in this data directory: try again in a moment.")
    return address
