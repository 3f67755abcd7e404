"""Text and metadata as the wire accepts them."""

import unicodedata
from json import dumps
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints

MAX_TEXT = 32_000  # characters of one message
MAX_METADATA_BYTES = 16_384
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # control, format, private, ends of lines


def _storable(text: str) -> str:
    if "\x00" in text:  # PostgreSQL cannot hold NUL in text or JSON
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ValueError("must not contain lone surrogates") from e
    return text


def _storable_object(value: dict[str, Any]) -> dict[str, Any]:
    if _measure(value, depth=0) > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES} bytes")
    return value


def _measure(value: object, depth: int) -> int:
    """An upper bound of the JSON size in bytes; raises where the value cannot be stored."""
    if depth > 8:
        raise ValueError("must be nested at most 8 levels deep")
    match value:
        case str():
            return len(_storable(value).encode()) + 2
        case dict():
            return sum(_measure(k, depth + 1) + _measure(v, depth + 1) + 2 for k, v in value.items()) + 2
        case list():
            return sum(_measure(v, depth + 1) + 1 for v in value) + 2
        case float() if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("must not contain NaN or infinity")
        case _:
            return len(str(value))


def storable(text: str) -> str:
    """What models and tools say, without what PostgreSQL, JSON and frames cannot hold: NUL and halves of surrogate
    pairs. Halves that stand together are the character they mean."""
    if text.isascii():
        return text if "\x00" not in text else text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "\ufffd")


def spelled_out(json: str) -> str:
    """The same JSON, with escapes for what nobody can see and for what turns the direction of the rest: it looks like
    what it is."""
    if json.isascii():
        return json
    return "".join(dumps(c)[1:-1] if unicodedata.category(c) in _INVISIBLE else c for c in json)


Storable = Annotated[str, AfterValidator(_storable)]
MessageText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(_storable)]
Title = Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_storable)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_storable)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Metadata = Annotated[dict[str, Any], AfterValidator(_storable_object)]
