"""Teams out of files: the gallery that comes with the hub, and an operator's folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hub.domain.team import TeamSpec
from hub.engine.forms import FileError, Problem, complained, file_bytes, read_form, unreadable
from hub.engine.teams.form import TeamForm
from hub.engine.teams.rules import Names, complaints
from hub.engine.teams.scripted import scripted_teams
from hub.engine.yaml_source import Place

MAX_FILES = 500
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class TeamFile:
    """A file and the team in it. `file` is the name that problems carry, `source` what it holds."""

    file: str
    spec: TeamSpec
    source: bytes


def all_teams(folder: Path | None, names: Names) -> list[TeamSpec]:
    """The scripted teams, the gallery, and those of an operator's folder, which replace gallery teams of their names.

    Raises FileError.
    """
    teams = {team.name: team for team in [*scripted_teams(), *(found.spec for found in gallery(names))]}
    if folder is not None:
        teams |= {found.spec.name: found.spec for found in in_folder(folder, names)}
    return list(teams.values())


def gallery(names: Names) -> list[TeamFile]:
    """The teams that come with the hub. Raises FileError."""
    files = (resources.files("hub.engine.teams") / "gallery").iterdir()
    return _all(((file.name, file.read_bytes()) for file in sorted(files, key=lambda file: file.name)), names)


def in_folder(folder: Path, names: Names) -> list[TeamFile]:
    """The teams in the `.yaml` and `.yml` files of a folder, without those of its folders. Raises FileError."""
    return _all(_files(folder), names)


def read_file(path: Path, names: Names) -> TeamFile:
    """The team in a file. Raises FileError."""
    source = file_bytes(path)
    return TeamFile(str(path), parse(source, str(path), names), source)


def parse(text: bytes, file: str, names: Names) -> TeamSpec:
    """The team in a text. Raises FileError."""
    form, document = read_form(text, file, TeamForm)
    complained(complaints(form, names), document, file)
    return form.spec()


def _all(files: Iterator[tuple[str, bytes]], names: Names) -> list[TeamFile]:
    teams: list[TeamFile] = []
    problems: list[Problem] = []
    for file, text in files:
        try:
            spec = parse(text, file, names)
        except FileError as e:
            problems += e.problems
            continue
        if (other := next((known.file for known in teams if known.spec.name == spec.name), None)) is not None:
            problems.append(Problem(file, Place(1, 1), "name", f"{other} has a team {spec.name!r}, too"))
        teams.append(TeamFile(file, spec, text))
    if problems:
        raise FileError(problems)
    return teams


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    except OSError as e:
        raise FileError([unreadable(folder, e)]) from None
    if len(paths) > MAX_FILES:
        raise FileError([Problem(str(folder), Place(1, 1), "", f"holds more than {MAX_FILES} teams")])
    for path in paths:
        yield str(path), file_bytes(path)
