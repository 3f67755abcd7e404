"""From the text of a client's frame to a command, or to what is wrong with it.

The decoder is stricter than JSON parsers are by themselves: a key that is there twice, NaN and infinity are errors, so
that nobody reads a frame differently from anybody else.
"""

import json
from typing import Any, NoReturn

from pydantic import ValidationError

from hub.domain.errors import BadRequest
from hub.protocol.commands import COMMAND, AnyCommand

MAX_ID = 64
_MAX_PROBLEMS = 8


class BadFrame(Exception):
    """A frame that is no command. `id` is the client's own, where the frame has a usable one."""

    def __init__(self, id_: str | None, error: BadRequest) -> None:
        super().__init__(error.message)
        self.id = id_
        self.error = error


def parse_command(text: str | None) -> AnyCommand:
    """The command in a frame; None stands for a binary one. Raises `BadFrame`."""
    if text is None:
        raise BadFrame(None, BadRequest("frames must be text"))
    try:
        raw = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadFrame(None, BadRequest("the frame is nested too deeply")) from None
    except ValueError as e:
        raise BadFrame(None, BadRequest("the frame is not valid JSON", details={"problem": _told(e)})) from None
    if not isinstance(raw, dict):
        raise BadFrame(None, BadRequest("the frame is not a JSON object"))
    try:
        return COMMAND.validate_python(raw)
    except ValidationError as e:
        raise BadFrame(_usable_id(raw), _not_a_command(e)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _told(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error)


def _usable_id(raw: dict[str, Any]) -> str | None:
    """The frame's id, when a reply can carry it."""
    match raw.get("id"):
        case str(id_) if 0 < len(id_) <= MAX_ID and not any("\ud800" <= c <= "\udfff" for c in id_):
            return id_
        case _:
            return None


def _not_a_command(error: ValidationError) -> BadRequest:
    """What is wrong, field by field, without repeating the values."""
    problems = [
        {"field": _field(e["loc"]), "problem": e["msg"]}
        for e in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_PROBLEMS]
    ]
    first = problems[0]
    where = f"{first['field']}: " if first["field"] else ""
    return BadRequest(f"{where}{first['problem']}", details={"problems": problems})


def _field(location: tuple[int | str, ...]) -> str:
    """The path of a field; the first step of a location names the command."""
    steps = (str(step)[:MAX_ID] for step in location[1:])
    return ".".join(steps).encode("utf-8", "replace").decode()
