"""The commands of `hub`: each one sentence on failure, JSON on demand, exit codes as in `hub.process.exits`."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer
from pydantic import ValidationError

from hub import __version__
from hub.cli import accounts, doctor, models, organisations, reach, teams, tools
from hub.domain.errors import HubError
from hub.embedded.lock import read_note
from hub.process.bring_up import operator_errors
from hub.process.exits import CannotStart, ExitCode
from hub.process.serve import serve as serve_hub
from hub.settings import Settings, strays
from hub.store import migrate as schema
from hub.telemetry import logs
from hub_client.chat.main import main as talk
from hub_client.chat.options import DEFAULT_URL, Options

cli = typer.Typer(
    help="A hub in which teams of AI agents talk live in durable sessions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
user = typer.Typer(help="People.", no_args_is_help=True)
key = typer.Typer(help="API keys, for bots.", no_args_is_help=True)
cli.add_typer(user, name="user")
cli.add_typer(key, name="key")
cli.add_typer(teams.cli, name="team")
cli.add_typer(organisations.cli, name="org")
cli.add_typer(tools.cli, name="tool")
cli.add_typer(models.cli, name="model")

DataDir = Annotated[Path | None, typer.Option(help="Where embedded services keep their data (HUB_DATA_DIR).")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was made as one JSON object.")]


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
    settings = _settings(host=host, port=port, workers=workers, role=role, data_dir=data_dir)
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
    settings = _settings(data_dir=data_dir)
    with reach.database(settings) as dsn, operator_errors():
        owner = settings.owner_database_url
        owned = owner.get_secret_value() if owner is not None and settings.database_url is not None else dsn
        before = schema.current(owned)
        if back_to is not None:
            schema.downgrade(owned, back_to)
            _say(f"The schema went from {before or 'nothing'} back to {schema.current(owned)}.")
            return
        schema.upgrade(owned)
        if owned != dsn:
            _let_in(owned, dsn)
    head = schema.head_revision()
    _say(f"The schema is {head}." if before == head else f"The schema went from {before or 'nothing'} to {head}.")


def _let_in(owner: str, application: str) -> None:
    try:
        schema.let_in(owner, application)
    except ValueError as e:
        _fail(f"HUB_DATABASE_URL: {e}", ExitCode.USAGE)


@user.command("create")
def create_user(
    name: str,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    org: Annotated[str | None, typer.Option(help="The organisation they are at home in (the first one).")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make an account. Without a password (no terminal to ask on, no --password-stdin) it can only have API keys."""
    settings = _settings(data_dir=data_dir)
    password = _password(from_stdin=password_stdin)
    with reach.database(settings) as dsn:
        made = asyncio.run(accounts.create_user(dsn, name, password, is_admin=admin, org=org))
    _show(
        {"id": made.id, "name": made.name, "is_admin": made.is_admin, "has_password": password is not None},
        f"{made.name} ({made.id})" + ("" if password is not None else ", who cannot sign in with a password"),
        as_json=as_json,
    )


@user.command("list")
def list_users(as_json: AsJsonLines = False, data_dir: DataDir = None) -> None:
    """Show all accounts, newest first."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        found = asyncio.run(accounts.list_users(dsn))
    for one in found:
        marks = [word for word, true in (("admin", one.is_admin), ("suspended", one.disabled_at)) if true]
        row = {"id": one.id, "name": one.name, "is_admin": one.is_admin, "suspended": one.disabled_at is not None}
        _show(row, f"{one.id}  {one.name}  {' '.join(marks)}".rstrip(), as_json=as_json)


@user.command("suspend")
def suspend_user(name: str, data_dir: DataDir = None) -> None:
    """End what an account can do: its tokens end, its keys do not work, its connections close within seconds."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        changed = asyncio.run(accounts.suspend(dsn, name, suspended=True))
    _say(f"{changed.name} is suspended.")


@user.command("restore")
def restore_user(name: str, data_dir: DataDir = None) -> None:
    """Let a suspended account sign in again."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        changed = asyncio.run(accounts.suspend(dsn, name, suspended=False))
    _say(f"{changed.name} may sign in again.")


@user.command("link")
def link_user(
    name: str,
    subject: Annotated[str, typer.Argument(help="What the provider calls them: the claim `sub`.")],
    issuer: Annotated[str | None, typer.Option(help="The provider (HUB_OIDC_ISSUER).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody at the OpenID provider sign in as an account that is there already."""
    settings = _settings(data_dir=data_dir)
    provider = issuer or settings.oidc_issuer or ""
    if not provider:
        _fail("a provider is needed: HUB_OIDC_ISSUER, or --issuer", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        linked = asyncio.run(accounts.link_user(dsn, name, issuer=provider, subject=subject))
    _say(f"{subject} of {provider} signs in as {linked.name}.")


@user.command("erase")
def erase_user(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase an account and all its person has said, for ever. A running hub needs a moment for the second part."""
    settings = _settings(data_dir=data_dir)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Erase {name} for ever?")):
        _fail("nothing was erased: say yes, or --yes", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        id_ = asyncio.run(accounts.erase_user(dsn, name))
    _say(f"Nobody is {name} any more; what is left is the id {id_}.")


@user.command("export")
def export_user(
    name: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; else stdout.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write everything about an account as lines of JSON; the last one, `end`, says that it is all there."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        if output is None:
            asyncio.run(accounts.export_user(dsn, name, sys.stdout.buffer.write))
            return
        try:
            output.touch(mode=0o600, exist_ok=False)  # for nobody else's eyes, and never over a file that is there
            with output.open("wb") as file:
                asyncio.run(accounts.export_user(dsn, name, file.write))
        except OSError as e:
            _fail(f"{output}: {e.strerror}", ExitCode.FAILED)


@user.command("password")
def set_password(
    name: str,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give an account another password; every sign-in of it ends."""
    settings = _settings(data_dir=data_dir)
    password = _password(from_stdin=password_stdin)
    if not password:
        _fail("a password is needed: on a terminal, or with --password-stdin", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        changed = asyncio.run(accounts.set_password(dsn, name, password or ""))
    _say(f"{changed.name} has another password.")


@key.command("list")
def list_keys(
    user_name: Annotated[str, typer.Option("--user", help="Whose keys.")],
    as_json: AsJsonLines = False,
    data_dir: DataDir = None,
) -> None:
    """Show the API keys of an account, without their secrets."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        found = asyncio.run(accounts.list_keys(dsn, user_name))
    for one in found:
        ends = one.expires_at.isoformat() if one.expires_at else None
        row = {"id": one.id, "name": one.name, "scopes": list(one.scopes), "expires_at": ends}
        _show(row, f"{one.id}  {one.name}  {','.join(one.scopes)}  until {ends}", as_json=as_json)


@key.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID")], data_dir: DataDir = None) -> None:
    """End an API key, and every connection that was opened with it."""
    with reach.database(_settings(data_dir=data_dir)) as dsn:
        asyncio.run(accounts.revoke_key(dsn, key_id))
    _say("The key is revoked.")


@key.command("create")
def create_key(
    user_name: Annotated[str, typer.Option("--user", help="Whose key it is.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "made with hub key create",
    scopes: Annotated[
        list[str] | None,
        typer.Option(help="sessions:read, sessions:write, runs:control, agents:serve, admin; commas or repeated."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=366, help="How long it is good for (90).")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make an API key. It is shown now and never again."""
    settings = _settings(data_dir=data_dir)
    wanted = [scope for part in scopes for scope in part.replace(",", " ").split()] if scopes else None
    with reach.database(settings) as dsn:
        made = asyncio.run(accounts.create_key(dsn, user_name, name=name, scopes=wanted, days=days))
    shown = {
        "id": made.id,
        "name": made.name,
        "key": made.key,
        "scopes": list(made.scopes),
        "expires_at": made.expires_at.isoformat(),
    }
    _show(shown, made.key, as_json=as_json)


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
    address = url or read_note(_settings(data_dir=data_dir).data_dir).get("url", DEFAULT_URL)
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
    settings = _settings(data_dir=data_dir)
    with reach.complete(settings) as whole:
        findings = doctor.examine(whole)
    for finding in findings:
        _say(f"{finding.verdict.value:<5} {finding.subject:<12} {finding.text}")
        if finding.advice:
            _say(f"{'':<18} → {finding.advice}")
    raise typer.Exit(ExitCode.FAILED if any(f.verdict is doctor.Verdict.FAILED for f in findings) else ExitCode.OK)


@cli.command()
def version() -> None:
    """Print the hub's version."""
    _say(__version__)


def _settings(**options: object) -> Settings:
    """The variables, overridden by what the command line gives. Raises pydantic's ValidationError."""
    return Settings.model_validate({name: value for name, value in options.items() if value is not None})


def _password(*, from_stdin: bool) -> str | None:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt("Password (empty: none)", default="", hide_input=True, show_default=False)
    return answer or None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    reason = message.removeprefix("Value error, ")
    return f"HUB_{str(location[0]).upper()}: {reason}" if location else reason


def _show(made: Mapping[str, object], text: str, *, as_json: bool) -> None:
    _say(json.dumps(made) if as_json else text)


def _say(text: str) -> None:
    typer.echo(text)


def _fail(message: str, code: ExitCode) -> None:
    typer.echo(f"hub: {message}", err=True)
    sys.exit(code)
