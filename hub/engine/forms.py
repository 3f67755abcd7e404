"""Operators' YAML files as pydantic forms, and what is wrong with them, with the place.

Nothing in a file is more than data (`hub.engine.yaml_source`).
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from hub.engine import yaml_source
from hub.engine.yaml_source import MAX_BYTES, Document, Path, Place, Unreadable


class Form(BaseModel):
    """What forms of files have in common: no unknown keys, no guessing at types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


FormT = TypeVar("FormT", bound=Form)

Complaint = tuple[Path, str]
"""What is wrong with a form, and where in it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file. Its text is `file:line:column: where: what`."""

    file: str
    place: Place
    where: str
    what: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.place.line}:{self.place.column}: {where}{self.what}"


class FileError(Exception):
    """Files that do not hold what they should; the text has a line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def read_form(text: bytes, file: str, form: type[FormT]) -> tuple[FormT, Document]:
    """The form in a text, and the document it was read from. Raises FileError."""
    try:
        document = yaml_source.read(text)
    except Unreadable as e:
        raise FileError([Problem(file, e.place, "", str(e))]) from None
    try:
        return form.model_validate_json(json.dumps(document.value)), document
    except ValidationError as e:
        found = _shapeless(e, document, file, form)
        raise FileError(sorted(found, key=lambda problem: problem.place)) from None


def complained(complaints: Iterator[Complaint], document: Document, file: str) -> None:
    """Raises FileError when there is any complaint."""
    if found := [Problem(file, document.place(path), in_words(path), what) for path, what in complaints]:
        raise FileError(found)


def file_bytes(path: FilePath) -> bytes:
    """The content of a file, as far as one may be long. Raises FileError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        raise FileError([unreadable(path, e)]) from None


def unreadable(path: FilePath, error: OSError) -> Problem:
    """The problem of a file or folder that cannot be read."""
    return Problem(str(path), Place(1, 1), "", f"cannot be read: {error.strerror}")


def unknown(path: Path, what: str, name: str, known: Collection[str]) -> Iterator[Complaint]:
    """A complaint, if the name is not known, with the nearest one that is."""
    if name not in known:
        yield path, f"there is no {what} {name!r}{nearest(name, known)}"


def nearest(name: str, known: Collection[str]) -> str:
    """`; do you mean 'x'?`, or what there is, as the end of a sentence."""
    close = get_close_matches(name, list(known), n=1)
    if close:
        return f"; do you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known))}" if known else "; there are none"


def in_words(path: Path) -> str:
    """A path as people write it: `agents[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _shapeless(error: ValidationError, document: Document, file: str, form: type[BaseModel]) -> Iterator[Problem]:
    entries = error.errors(include_url=False, include_context=False)
    for entry in entries:
        path = tuple(entry["loc"])
        if path[-1:] == ("[key]",):  # pydantic's way to say that the key itself is wrong
            path = path[:-1]
        if entry["type"] == "too_short" and any(
            other["loc"][: len(path)] == path for other in entries if other != entry
        ):
            continue  # its items are not counted because of what is wrong in them
        what = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            what = f"there is no such key{nearest(str(path[-1]), _keys(_model_at(form, path[:-1])))}"
        elif entry["type"] == "missing":
            what = "this key is missing"
        yield Problem(file, document.place(path), in_words(path), what)


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel]:
    """The form that has the keys at this path."""
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
