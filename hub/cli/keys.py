"""`hub key`: API keys, by the operator."""

import asyncio
from typing import Annotated

import typer

from hub.cli import accounts, reach
from hub.cli.options import AsJson, AsJsonLines, DataDir, settings_with, show

cli = typer.Typer(help="API keys, for bots.", no_args_is_help=True)


@cli.command("list")
def list_keys(
    user_name: Annotated[str, typer.Option("--user", help="Whose keys.")],
    as_json: AsJsonLines = False,
    data_dir: DataDir = None,
) -> None:
    """Show the API keys of an account, without their secrets."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        found = asyncio.run(accounts.list_keys(dsn, user_name))
    for one in found:
        ends = one.expires_at.isoformat() if one.expires_at else None
        row = {"id": one.id, "name": one.name, "scopes": list(one.scopes), "expires_at": ends}
        show(row, f"{one.id}  {one.name}  {','.join(one.scopes)}  until {ends}", as_json=as_json)


@cli.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID")], data_dir: DataDir = None) -> None:
    """End an API key, and every connection that was opened with it."""
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        asyncio.run(accounts.revoke_key(dsn, key_id))
    typer.echo("The key is revoked.")


@cli.command("create")
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
    settings = settings_with(data_dir=data_dir)
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
    show(shown, made.key, as_json=as_json)
