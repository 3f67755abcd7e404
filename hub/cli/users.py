"""`hub user`: people, by the operator."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.cli import accounts, reach
from hub.cli.options import AsJson, AsJsonLines, DataDir, settings_with, show
from hub.process.exits import CannotStart, ExitCode

cli = typer.Typer(help="People.", no_args_is_help=True)


@cli.command("create")
def create_user(
    name: str,
    admin: Annotated[bool, typer.Option("--admin", help="An administrator.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    org: Annotated[str | None, typer.Option(help="The organisation they are at home in (the first one).")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make an account. Without a password (no terminal to ask on, no --password-stdin) it can only have API keys."""
    settings = settings_with(data_dir=data_dir)
    password = _password(from_stdin=password_stdin)
    with reach.database(settings) as dsn:
        made = asyncio.run(accounts.create_user(dsn, name, password, is_admin=admin, org=org))
    show(
        {"id": made.id, "name": made.name, "is_admin": made.is_admin, "has_password": password is not None},
        f"{made.name} ({made.id})" + ("" if password is not None else ", who cannot sign in with a password"),
        as_json=as_json,
    )


@cli.command("list")
def list_users(as_json: AsJsonLines = False, data_dir: DataDir = None) -> None:
    """Show all accounts, newest first."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        found = asyncio.run(accounts.list_users(dsn))
    for one in found:
        marks = [word for word, true in (("admin", one.is_admin), ("suspended", one.disabled_at)) if true]
        row = {"id": one.id, "name": one.name, "is_admin": one.is_admin, "suspended": one.disabled_at is not None}
        show(row, f"{one.id}  {one.name}  {' '.join(marks)}".rstrip(), as_json=as_json)


@cli.command("suspend")
def suspend_user(name: str, data_dir: DataDir = None) -> None:
    """End what an account can do: its tokens end, its keys do not work, its connections close within seconds."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        changed = asyncio.run(accounts.suspend(dsn, name, suspended=True))
    typer.echo(f"{changed.name} is suspended.")


@cli.command("restore")
def restore_user(name: str, data_dir: DataDir = None) -> None:
    """Let a suspended account sign in again."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        changed = asyncio.run(accounts.suspend(dsn, name, suspended=False))
    typer.echo(f"{changed.name} may sign in again.")


@cli.command("link")
def link_user(
    name: str,
    subject: Annotated[str, typer.Argument(help="What the provider calls them: the claim `sub`.")],
    issuer: Annotated[str | None, typer.Option(help="The provider (HUB_OIDC_ISSUER).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody at the OpenID provider sign in as an account that is there already."""
    settings = settings_with(data_dir=data_dir)
    provider = issuer or settings.oidc_issuer or ""
    if not provider:
        raise CannotStart("a provider is needed: HUB_OIDC_ISSUER, or --issuer", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        linked = asyncio.run(accounts.link_user(dsn, name, issuer=provider, subject=subject))
    typer.echo(f"{subject} of {provider} signs in as {linked.name}.")


@cli.command("erase")
def erase_user(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase an account and all its person has said, for ever. A running hub needs a moment for the second part."""
    settings = settings_with(data_dir=data_dir)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Erase {name} for ever?")):
        raise CannotStart("nothing was erased: say yes, or --yes", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        id_ = asyncio.run(accounts.erase_user(dsn, name))
    typer.echo(f"Nobody is {name} any more; what is left is the id {id_}.")


@cli.command("export")
def export_user(
    name: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; else stdout.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write everything about an account as lines of JSON; the last one, `end`, says that it is all there."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        if output is None:
            asyncio.run(accounts.export_user(dsn, name, sys.stdout.buffer.write))
            return
        try:
            output.touch(mode=0o600, exist_ok=False)  # for nobody else's eyes, and never over a file that is there
            with output.open("wb") as file:
                asyncio.run(accounts.export_user(dsn, name, file.write))
        except OSError as e:
            raise CannotStart(f"{output}: {e.strerror}", ExitCode.FAILED) from e


@cli.command("password")
def set_password(
    name: str,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give an account another password; every sign-in of it ends."""
    settings = settings_with(data_dir=data_dir)
    password = _password(from_stdin=password_stdin)
    if not password:
        raise CannotStart("a password is needed: on a terminal, or with --password-stdin", ExitCode.USAGE)
    with reach.database(settings) as dsn:
        changed = asyncio.run(accounts.set_password(dsn, name, password or ""))
    typer.echo(f"{changed.name} has another password.")


def _password(*, from_stdin: bool) -> str | None:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt("Password (empty: none)", default="", hide_input=True, show_default=False)
    return answer or None
