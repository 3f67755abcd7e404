"""The command `hub`, and what of it belongs to no group of commands: each one sentence on failure, JSON on demand, exit
codes as in `hub.process.exits`."""

import sys
from typing import Annotated, Literal

import structlog
import typer
from pydantic import ValidationError

from hub import __version__
from hub.cli import doctor, keys, models, organisations, reach, teams, tools, users
from hub.cli.options import DataDir, settings_with
from hub.domain.errors import HubError
from hub.embedded.lock import read_note
from hub.process.bring_up import operator_errors
from hub.process.exits import CannotStart, ExitCode
from hub.process.serve import serve as serve_hub
from hub.settings import strays
from hub.store import migrate as schema
from hub.telemetry import logs
from hub_client.chat.main import main as talk
from hub_client.chat.options import DEFAULT_URL, Options

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(users.cli, name="user")
cli.add_typer(keys.cli, name="key")
cli.add_typer(teams.cli, name="team")
cli.add_typer(organisations.cli, name="org")
cli.add_typer(tools.cli, name="tool")
cli.add_typer(models.cli, name="model")


def main() -> None:
    """Run `hub`; ends the process."""
    try:
        cli(prog_name="hub")
    except CannotStart as e:
        _fail(str(e), e.code)
    except ValidationError as e:
        _fail(
            "; ".join(_explain(error["loc"], error["msg"]) for error in e.errors(include_input=False)), ExitCode.USAGE
        )
    except HubError as e:
        _fail(e.message, ExitCode.FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", ExitCode.FAILED)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the hub's version.")
    ] = False,
) -> None:
    """A hub in which teams of AI agents talk live in durable sessions."""


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (HUB_HOST, 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one (HUB_PORT, 8000).")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (HUB_WORKERS, 1).")] = None,
    role: Annotated[
        Literal["all", "gateway", "runner"] | None,
        typer.Option(help="Sockets, agents, or both (HUB_ROLE, all)."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the hub in the foreground. Prints `ready URL` on stdout, logs on stderr; SIGTERM or Ctrl-C drains it.

    Exit codes: 0 drained, 1 failed while running, 2 wrong settings, 3 old schema, 4 something it needs is missing.
    """
    settings = settings_with(host=host, port=port, workers=workers, role=role, data_dir=data_dir)
    logs.configure(settings.log_level, settings.log_format)
    for stray, meant in strays().items():
        structlog.get_logger("hub.process").warning("no_such_setting", variable=stray, perhaps=meant)
    raise typer.Exit(serve_hub(settings))


@cli.command()
def migrate(
    back_to: Annotated[
        str | None,
        typer.Option(
            metavar="REVISION",
            help="Take the schema back to this revision instead, for an older version of the hub: what later ones have "
            "added is lost. Stop all hubs before.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Bring the database's schema up to this version of the hub."""
    settings = settings_with(data_dir=data_dir)
    owner = settings.owner_database_url if settings.database_url is not None else None
    with (
        reach.database(settings) as dsn,
        operator_errors("HUB_DATABASE_URL" if owner is None else "HUB_OWNER_DATABASE_URL"),
    ):
        owned = owner.get_secret_value() if owner is not None else dsn
        before = schema.current(owned)
        if back_to is not None:
            schema.downgrade(owned, back_to)
            typer.echo(f"The schema went from {before or 'nothing'} back to {schema.current(owned)}.")
            return
        schema.upgrade(owned)
        if owned != dsn:
            _let_in(owned, dsn)
    head = schema.head_revision()
    typer.echo(f"The schema is {head}." if before == head else f"The schema went from {before or 'nothing'} to {head}.")


def _let_in(owner: str, application: str) -> None:
    try:
        schema.let_in(owner, application)
    except ValueError as e:
        _fail(f"HUB_DATABASE_URL: {e}", ExitCode.USAGE)


@cli.command()
def chat(
    url: Annotated[
        str | None, typer.Option(envvar="HUB_CHAT_URL", help="Which hub; else the one that runs in the data directory.")
    ] = None,
    name: Annotated[str | None, typer.Option(envvar="HUB_CHAT_NAME", help="Who you are; else you are asked.")] = None,
    password: Annotated[str | None, typer.Option(envvar="HUB_CHAT_PASSWORD", hidden=True)] = None,
    token: Annotated[str | None, typer.Option(envvar="HUB_CHAT_TOKEN", help="An access token.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="HUB_CHAT_API_KEY", help="An API key.")] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="Join this session.")] = None,
    team: Annotated[str | None, typer.Option(help="Open a new session with this team.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Say this, print the answers, leave.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last session.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Line by line, without drawing.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Talk to teams of agents in this terminal."""
    address = url or read_note(settings_with(data_dir=data_dir).data_dir).get("url", DEFAULT_URL)
    options = Options(
        url=address,
        name=name,
        password=password,
        token=token,
        api_key=api_key,
        session=session,
        team=team,
        message=message,
        resume=resume,
        as_json=as_json,
        plain=plain,
    )
    raise typer.Exit(talk(options))


@cli.command("doctor")
def examine(data_dir: DataDir = None) -> None:
    """Check database, schema, clock, Redis, models and limits, and say what to do. Exit code 1 when something fails."""
    settings = settings_with(data_dir=data_dir)
    with reach.complete(settings) as whole:
        findings = doctor.examine(whole)
    for finding in findings:
        typer.echo(f"{finding.verdict.value:<5} {finding.subject:<12} {finding.text}")
        if finding.advice:
            typer.echo(f"{'':<18} → {finding.advice}")
    raise typer.Exit(ExitCode.FAILED if any(f.verdict is doctor.Verdict.FAILED for f in findings) else ExitCode.OK)


@cli.command()
def version() -> None:
    """Print the hub's version."""
    typer.echo(__version__)


def _explain(location: tuple[int | str, ...], message: str) -> str:
    reason = message.removeprefix("Value error, ")
    return f"HUB_{str(location[0]).upper()}: {reason}" if location else reason


def _fail(message: str, code: ExitCode) -> None:
    typer.echo(f"hub: {message}", err=True)
    sys.exit(code)
