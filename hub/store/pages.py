"""Keyset pages: a cursor is the sort key of the last row shown, opaque to clients."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from hub.domain.errors import BadRequest
from hub.domain.ids import parse_id

T = TypeVar("T")


def cut(rows: Sequence[T], limit: int, cursor: Callable[[T], str]) -> tuple[list[T], str | None]:
    """The page, and the cursor of the next one, from a query that asked for `limit + 1` rows."""
    page = list(rows[:limit])
    return page, cursor(page[-1]) if len(rows) > limit else None


def time_and_id(time: datetime, id_: str) -> str:
    """The cursor of a list sorted by time, then id."""
    return _encode(f"{time.astimezone(UTC).isoformat()} {id_}")


def parse_time_and_id(cursor: str) -> tuple[datetime, str]:
    """What `time_and_id` was given. Raises `BadRequest` for anything else."""
    time_text, _, id_text = _decode(cursor).partition(" ")
    try:
        time = datetime.fromisoformat(time_text)
    except ValueError:
        raise _unknown() from None
    id_ = parse_id(id_text)
    if id_ is None or time.tzinfo is None:
        raise _unknown()
    return time, id_


def only_id(id_: str) -> str:
    """The cursor of a list sorted by id."""
    return _encode(id_)


def parse_id_cursor(cursor: str) -> str:
    """What `only_id` was given. Raises `BadRequest` for anything else."""
    id_ = parse_id(_decode(cursor))
    if id_ is None:
        raise _unknown()
    return id_


def number(key: int) -> str:
    """The cursor of a list sorted by a number."""
    return _encode(str(key))


def parse_number(cursor: str) -> int:
    """What `number` was given. Raises `BadRequest` for anything else."""
    text = _decode(cursor)
    if not text.isdecimal() or len(text) > 9:
        raise _unknown()
    return int(text)


def part(
    items: Sequence[T], key: Callable[[T], str], limit: int | None, cursor: str | None
) -> tuple[list[T], str | None]:
    """A page of a list that is at hand as a whole: all that is left without a limit. The cursor is the key of the last
    item shown, and its place, which counts when that item is gone. Raises `BadRequest` for a cursor that is none."""
    begin = 0
    if cursor is not None:
        place, blank, last = _decode(cursor).partition(" ")
        if not (blank and place.isdecimal() and 0 < len(place) < 9):
            raise _unknown()
        begin = next((at for at, item in enumerate(items, 1) if key(item) == last), max(0, int(place) - 1))
    end = len(items) if limit is None else begin + limit
    page = list(items[begin:end])
    return page, _encode(f"{end} {key(page[-1])}") if page and end < len(items) else None


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _unknown() from None


def _unknown() -> BadRequest:
    return BadRequest("the cursor is not one of this list")
