"""`hub team`: the teams of a hub with these settings, and checking of files before a hub is given them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Concatenate, ParamSpec, TypeVar

import typer

from hub.cli import reach
from hub.cli.options import AsJsonLines, DataDir, settings_with
from hub.composition import agents
from hub.domain.errors import HubError, NotFound
from hub.domain.team import TeamSpec
from hub.engine.forms import FileError
from hub.engine.teams import form
from hub.engine.teams.files import all_teams, gallery, in_folder, parse, read_file
from hub.engine.teams.rules import Names
from hub.process.bring_up import model_errors
from hub.process.exits import CannotStart, ExitCode
from hub.sessions.teams import Teams
from hub.settings import Settings
from hub.store.database import Store
from hub.store.teams import TeamVersion

P = ParamSpec("P")
T = TypeVar("T")

Version = Annotated[int | None, typer.Option(min=1, help="Of a team that was imported; else the newest.")]

cli = typer.Typer(help="Teams of agents.", no_args_is_help=True)


@cli.command("list")
def list_teams(as_json: AsJsonLines = False, data_dir: DataDir = None) -> None:
    """Show all teams: those that come with the hub or out of files, and those that were imported."""
    settings = settings_with(data_dir=data_dir)
    specs = _teams(settings)
    files = {spec.name for spec in specs}
    for spec in specs:
        agents = [agent.name for agent in spec.agents]
        row = {"name": spec.name, "description": spec.description, "agents": agents}
        typer.echo(json.dumps(row) if as_json else f"{spec.name:<18} {spec.description} ({', '.join(agents)})")
    names = _names(settings)
    for team in _in_database(settings, Teams.all, None) if _has_database(settings) else []:
        _list_imported(team, names, hidden=team.name in files, as_json=as_json)


def _list_imported(team: TeamVersion, names: Names, *, hidden: bool, as_json: bool) -> None:
    marks = ["archived"] if team.archived_at is not None else []
    marks += ["hidden by a file of the same name"] if hidden else []
    try:
        spec = parse(team.source.encode(), team.name, names)
        description, agents = spec.description, [agent.name for agent in spec.agents]
    except FileError as e:
        description, agents = "", []
        marks += [f"not usable here: {e.problems[0].what}"]
    if as_json:
        row = {"name": team.name, "description": description, "agents": agents, "version": team.version}
        typer.echo(json.dumps(row | {"organisation": team.organisation, "marks": marks}))
        return
    about = "; ".join([f"version {team.version}", *marks])
    typer.echo(f"{team.name:<18} {description} ({', '.join(agents)}) [{about}]")


@cli.command("show")
def show(name: str, version: Version = None, data_dir: DataDir = None) -> None:
    """Show one team, with everything that is left to defaults, as JSON."""
    settings = settings_with(data_dir=data_dir)
    spec = None if version is not None else next((team for team in _teams(settings) if team.name == name), None)
    if spec is None:
        found = _imported(settings, name, version)
        try:
            spec = parse(found.source.encode(), name, _names(settings))
        except FileError as e:
            raise CannotStart(str(e), ExitCode.FAILED) from e
    typer.echo(json.dumps(asdict(spec), indent=2))


@cli.command("export")
def export(name: str, version: Version = None, data_dir: DataDir = None) -> None:
    """Print the file of a team, as it was given; of the scripted teams there is none."""
    settings = settings_with(data_dir=data_dir)
    names = _names(settings)
    try:
        files = [*gallery(names), *(in_folder(settings.teams_dir, names) if settings.teams_dir is not None else ())]
    except FileError as e:
        raise CannotStart(f"HUB_TEAMS_DIR:\n{e}", ExitCode.USAGE) from e
    # The last one: a file of the operator's takes the place of one that comes with the hub.
    of_file = [] if version is not None else [file.source for file in files if file.spec.name == name]
    typer.echo(of_file[-1] if of_file else _imported(settings, name, version).source, nl=False)


@cli.command("import")
def import_teams(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of them.")],
    org: Annotated[
        str | None, typer.Option(help="For this organisation only; a new team is for all without it.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Put teams' files into the database, each as its team's new version. Running hubs have them within seconds."""
    settings = settings_with(data_dir=data_dir)
    names = _names(settings)
    try:
        found = in_folder(path, names) if path.is_dir() else [read_file(path, names)]
    except FileError as e:
        raise CannotStart(str(e), ExitCode.FAILED) from e
    if taken := [team for team in found if team.spec.name in {spec.name for spec in _teams(settings)}]:
        told = "; ".join(
            f"{team.file}: {team.spec.name!r} is a team that comes with the hub or out of a file" for team in taken
        )
        raise CannotStart(told, ExitCode.FAILED)

    async def put(teams: Teams) -> None:
        for team in found:
            try:
                added = await teams.put(None, team.source, organisation=org)
            except HubError as e:
                raise CannotStart(f"{team.file}: {e.message}", ExitCode.FAILED) from e
            typer.echo(f"{team.file}: {added.name} has version {added.version}")

    _in_database(settings, put)


@cli.command("archive")
def archive(name: str, data_dir: DataDir = None) -> None:
    """No session is opened with this team any more; those that have it go on. Importing it again brings it back."""
    _in_database(settings_with(data_dir=data_dir), Teams.archive, None, name)
    typer.echo(f"{name} is archived.")


@cli.command("validate")
def validate(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; without any, the folder HUB_TEAMS_DIR.")
    ] = None,
) -> None:
    """Check teams' files against this hub's models and tools. Prints `file:line:column: where: what`; exit code 1."""
    settings = Settings()
    names = _names(settings)
    if paths is None and settings.teams_dir is None:
        raise CannotStart("name a file or a folder, or set HUB_TEAMS_DIR", ExitCode.USAGE)
    failed = False
    for path in paths or [folder for folder in (settings.teams_dir,) if folder is not None]:
        try:
            found = in_folder(path, names) if path.is_dir() else [read_file(path, names)]
        except FileError as e:
            typer.echo(str(e))
            failed = True
            continue
        for team in found:
            typer.echo(f"{team.file}: ok, {team.spec.name}")
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


@cli.command("schema")
def schema() -> None:
    """Print the JSON Schema of a team's file, for editors."""
    typer.echo(json.dumps(form.schema(), indent=2))


def _names(settings: Settings) -> Names:
    with model_errors():
        return agents.team_names(settings)


def _teams(settings: Settings) -> list[TeamSpec]:
    try:
        return all_teams(settings.teams_dir, _names(settings))
    except FileError as e:
        raise CannotStart(f"HUB_TEAMS_DIR:\n{e}", ExitCode.USAGE) from e


def _imported(settings: Settings, name: str, version: int | None) -> TeamVersion:
    with suppress(NotFound):
        if _has_database(settings):
            return _in_database(settings, Teams.get, None, name, version)
    of_version = f" with a version {version}" if version is not None else ""
    raise CannotStart(f"there is no team {name!r}{of_version}; `hub team list` shows all", ExitCode.FAILED)


def _has_database(settings: Settings) -> bool:
    """Whether anything can have been imported yet: an embedded database is not made only to look."""
    return settings.database_url is not None or settings.data_dir.exists()


def _in_database(
    settings: Settings, do: Callable[Concatenate[Teams, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What is done with the teams of the database."""
    names, files = _names(settings), [spec.name for spec in _teams(settings)]

    async def work(dsn: str) -> T:
        store = Store(dsn, pool_size=2)
        try:
            return await do(Teams(store, names=lambda: names, files=lambda: files), *args, **kwargs)
        finally:
            await store.close()

    with reach.database(settings) as dsn:
        return asyncio.run(work(dsn))
