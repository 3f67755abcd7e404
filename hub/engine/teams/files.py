"""Teams out of files: the gallery that comes with the hub, and an operator's folder."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from hub.domain.team import TeamSpec
from hub.engine.teams import yaml_source
from hub.engine.teams.form import TeamForm
from hub.engine.teams.rules import Names, complaints, nearest
from hub.engine.teams.scripted import scripted_teams
from hub.engine.teams.yaml_source import MAX_BYTES, Document, Place, Unreadable

MAX_FILES = 500
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a team's file. Its text is `file:line:column: where: what`."""

    file: str
    place: Place
    where: str
    what: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.place.line}:{self.place.column}: {where}{self.what}"


class TeamFilesError(Exception):
    """Files that hold no team; the text has a line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class TeamFile:
    """A file and the team in it. `file` is the name that problems carry."""

    file: str
    spec: TeamSpec


def all_teams(folder: Path | None, names: Names) -> list[TeamSpec]:
    """The scripted teams, the gallery, and those of an operator's folder, which replace gallery teams of their names.

    Raises TeamFilesError.
    """
    teams = {team.name: team for team in [*scripted_teams(), *(found.spec for found in gallery(names))]}
    if folder is not None:
        teams |= {found.spec.name: found.spec for found in in_folder(folder, names)}
    return list(teams.values())


def gallery(names: Names) -> list[TeamFile]:
    """The teams that come with the hub. Raises TeamFilesError."""
    files = (resources.files("hub.engine.teams") / "gallery").iterdir()
    return _all(((file.name, file.read_bytes()) for file in sorted(files, key=lambda file: file.name)), names)


def in_folder(folder: Path, names: Names) -> list[TeamFile]:
    """The teams in the `.yaml` and `.yml` files of a folder, without those of its folders. Raises TeamFilesError."""
    return _all(_files(folder), names)


def read_file(path: Path, names: Names) -> TeamFile:
    """The team in a file. Raises TeamFilesError."""
    text = _bytes(path)
    return TeamFile(str(path), parse(text, str(path), names))


def parse(text: bytes, file: str, names: Names) -> TeamSpec:
    """The team in a text. Raises TeamFilesError."""
    try:
        document = yaml_source.read(text)
    except Unreadable as e:
        raise TeamFilesError([Problem(file, e.place, "", str(e))]) from None
    try:
        form = TeamForm.model_validate_json(json.dumps(document.value))
    except ValidationError as e:
        raise TeamFilesError(sorted(_shapeless(e, document, file), key=lambda problem: problem.place)) from None
    found = [Problem(file, document.place(path), _words(path), what) for path, what in complaints(form, names)]
    if found:
        raise TeamFilesError(found)
    return form.spec()


def _all(files: Iterator[tuple[str, bytes]], names: Names) -> list[TeamFile]:
    teams: list[TeamFile] = []
    problems: list[Problem] = []
    for file, text in files:
        try:
            spec = parse(text, file, names)
        except TeamFilesError as e:
            problems += e.problems
            continue
        if (other := next((known.file for known in teams if known.spec.name == spec.name), None)) is not None:
            problems.append(Problem(file, Place(1, 1), "name", f"{other} has a team {spec.name!r}, too"))
        teams.append(TeamFile(file, spec))
    if problems:
        raise TeamFilesError(problems)
    return teams


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    except OSError as e:
        raise TeamFilesError([Problem(str(folder), Place(1, 1), "", f"cannot be read: {e.strerror}")]) from None
    if len(paths) > MAX_FILES:
        raise TeamFilesError([Problem(str(folder), Place(1, 1), "", f"holds more than {MAX_FILES} teams")])
    for path in paths:
        yield str(path), _bytes(path)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        raise TeamFilesError([Problem(str(path), Place(1, 1), "", f"cannot be read: {e.strerror}")]) from None


def _shapeless(error: ValidationError, document: Document, file: str) -> Iterator[Problem]:
    entries = error.errors(include_url=False, include_context=False)
    for entry in entries:
        path = tuple(entry["loc"])
        if entry["type"] == "too_short" and any(
            other["loc"][: len(path)] == path for other in entries if other != entry
        ):
            continue  # its items are not counted because of what is wrong in them
        what = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            what = f"there is no such key{nearest(str(path[-1]), _keys(_model_at(path[:-1])))}"
        elif entry["type"] == "missing":
            what = "this key is missing"
        yield Problem(file, document.place(path), _words(path), what)


def _model_at(path: yaml_source.Path) -> type[BaseModel]:
    """The form that has the keys at this path."""
    model: type[BaseModel] = TeamForm
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            model = next(_models(model.model_fields[step].annotation), model)
    return model


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _words(path: yaml_source.Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
