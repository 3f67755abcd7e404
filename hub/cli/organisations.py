"""`hub org`: organisations, by the operator."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from hub.cli import reach
from hub.cli.options import AsJsonLines, DataDir, settings_with
from hub.cli.paging import every
from hub.domain.ids import OrganisationId
from hub.domain.organisation import SHORTEST_KEPT_S, Organisation, OrgKeep, OrgMember, OrgRole
from hub.sessions.organisations import Organisations
from hub.store.database import Store

cli = typer.Typer(help="Organisations: who belongs together.", no_args_is_help=True)


@cli.command("create")
def create(
    name: str,
    owner: Annotated[str | None, typer.Option(help="A user who owns it.")] = None,
    guests: Annotated[bool, typer.Option("--guests", help="Others may be invited to its sessions.")] = False,
    as_json: AsJsonLines = False,
    data_dir: DataDir = None,
) -> None:
    """Make an organisation."""

    async def make(dsn: str) -> Organisation:
        async with _organisations(dsn) as organisations:
            made = await organisations.create(None, name, guests=guests)
            if owner is not None:
                await organisations.put(None, made.id, owner, OrgRole.OWNER)
            return made

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        _show(asyncio.run(make(dsn)), as_json=as_json)


@cli.command("list")
def list_(as_json: AsJsonLines = False, data_dir: DataDir = None) -> None:
    """Show all organisations, oldest first."""

    async def read(dsn: str) -> list[Organisation]:
        async with _organisations(dsn) as organisations:
            return await every(lambda limit, cursor: organisations.page(limit=limit, cursor=cursor))

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        for one in asyncio.run(read(dsn)):
            _show(one, as_json=as_json)


@cli.command("members")
def members(org: str, as_json: AsJsonLines = False, data_dir: DataDir = None) -> None:
    """Show who belongs to an organisation (its id or name)."""

    async def read(dsn: str) -> list[OrgMember]:
        async with _organisations(dsn) as organisations:
            return await every(lambda limit, cursor: organisations.members(None, org, limit=limit, cursor=cursor))

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        for one in asyncio.run(read(dsn)):
            row = {"user": one.user, "name": one.name, "role": one.role.value}
            typer.echo(json.dumps(row) if as_json else f"{one.user}  {one.name}  {one.role.value}")


@cli.command("add")
def add(
    org: str,
    user: str,
    role: Annotated[OrgRole, typer.Option(help="owner, admin or member.")] = OrgRole.MEMBER,
    data_dir: DataDir = None,
) -> None:
    """Let a user belong to an organisation, or change what they are there."""

    async def put(dsn: str) -> OrgMember:
        async with _organisations(dsn) as organisations:
            return await organisations.put(None, org, user, role)

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        changed = asyncio.run(put(dsn))
    typer.echo(f"{changed.name} is {changed.role.value} of {org}.")


@cli.command("remove")
def remove(org: str, user: str, data_dir: DataDir = None) -> None:
    """Take a user out of an organisation, and out of all its sessions."""

    async def take_out(dsn: str) -> None:
        async with _organisations(dsn) as organisations:
            await organisations.remove(None, org, user)

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        asyncio.run(take_out(dsn))
    typer.echo(f"{user} does not belong to {org} any more.")


@cli.command("keep")
def keep(
    org: str,
    sessions_s: Annotated[
        int | None, typer.Option(min=SHORTEST_KEPT_S, help="Sessions in which nothing happens are deleted after this.")
    ] = None,
    deleted_s: Annotated[
        int | None, typer.Option(min=SHORTEST_KEPT_S, help="What was said in deleted sessions is removed after this.")
    ] = None,
    as_json: AsJsonLines = False,
    data_dir: DataDir = None,
) -> None:
    """Say how long an organisation keeps its sessions, in seconds; what is left out is as long as the hub's own time.

    Where the hub's own time is shorter (HUB_KEEP_SESSIONS_S, HUB_KEEP_DELETED_S), that one holds."""

    async def change(dsn: str) -> Organisation:
        async with _organisations(dsn) as organisations:
            return await organisations.keep(None, org, OrgKeep(sessions_s, deleted_s))

    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        _show(asyncio.run(change(dsn)), as_json=as_json)


@cli.command("erase")
def erase(
    org: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Erase an organisation with all its sessions. Its people keep their accounts. Nothing brings it back."""

    async def bury(dsn: str) -> OrganisationId:
        async with _organisations(dsn) as organisations:
            return await organisations.erase(None, org)

    if not yes:
        typer.confirm(f"Erase {org} and all its sessions?", abort=True)
    with reach.database(settings_with(data_dir=data_dir)) as dsn:
        erased = asyncio.run(bury(dsn))
    typer.echo(f"{org} ({erased}) is gone; running hubs take away what is left within seconds.")


@asynccontextmanager
async def _organisations(dsn: str) -> AsyncGenerator[Organisations]:
    store = Store(dsn, pool_size=2)
    try:
        yield Organisations(store)
    finally:
        await store.close()


def _show(org: Organisation, *, as_json: bool) -> None:
    keep = {"sessions_s": org.keep.sessions_s, "deleted_s": org.keep.deleted_s}
    row = {"id": org.id, "name": org.name, "guests": org.guests, "keep": keep}
    own = "".join(f"  {what}={seconds}" for what, seconds in keep.items() if seconds is not None)
    typer.echo(json.dumps(row) if as_json else f"{org.id}  {org.name}" + ("  guests" if org.guests else "") + own)
