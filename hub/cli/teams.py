"""`hub team`: the teams of a hub with these settings, and checking of files before a hub is given them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hub import app
from hub.domain.team import TeamSpec
from hub.engine.forms import FileError
from hub.engine.teams import form
from hub.engine.teams.files import all_teams, in_folder, read_file
from hub.engine.teams.rules import Names
from hub.process.bring_up import model_errors
from hub.process.exits import CannotStart, ExitCode
from hub.settings import Settings

cli = typer.Typer(help="Teams of agents.", no_args_is_help=True)


@cli.command("list")
def list_teams(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Show the teams that a session can be opened with."""
    for spec in _teams():
        agents = [agent.name for agent in spec.agents]
        row = {"name": spec.name, "description": spec.description, "agents": agents}
        typer.echo(json.dumps(row) if as_json else f"{spec.name:<18} {spec.description} ({', '.join(agents)})")


@cli.command("show")
def show(name: str) -> None:
    """Show one team, with everything that is left to defaults, as JSON."""
    spec = next((team for team in _teams() if team.name == name), None)
    if spec is None:
        raise CannotStart(f"there is no team {name!r}; `hub team list` shows all", ExitCode.FAILED)
    typer.echo(json.dumps(asdict(spec), indent=2))


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
        return app.team_names(settings)


def _teams() -> list[TeamSpec]:
    settings = Settings()
    try:
        return all_teams(settings.teams_dir, _names(settings))
    except FileError as e:
        raise CannotStart(f"HUB_TEAMS_DIR:\n{e}", ExitCode.USAGE) from e
