"""Names of users: anything people call themselves, but nothing that pretends to be something else."""

import unicodedata

from hub.domain.errors import BadRequest
from hub.domain.ids import parse_id

MAX_CHARACTERS = 64
PATTERN = r"^[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f])?$"
"""What the API documents. `clean_name` refuses a little more: invisible characters, and what looks like an id."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format (direction overrides, zero width), surrogates


def clean_name(name: str) -> str:
    """The name as it is kept. Raises `BadRequest` with the reason when nobody may be called that.

    No `/` (names stand in paths), no invisible characters (two names must not look alike by them), no blanks at the
    ends, and not the form of an id (a member is addressed by id or name).
    """
    if any(unicodedata.category(c) in _INVISIBLE for c in name):
        raise BadRequest("the name must not contain invisible characters")
    cleaned = unicodedata.normalize("NFC", name)
    if not 0 < len(cleaned) <= MAX_CHARACTERS:
        raise BadRequest(f"the name must have 1 to {MAX_CHARACTERS} characters")
    if cleaned != cleaned.strip():
        raise BadRequest("the name must not begin or end with a blank")
    if "/" in unicodedata.normalize("NFKC", cleaned):
        raise BadRequest("the name must not contain a slash")
    if parse_id(cleaned) is not None:
        raise BadRequest("the name must not look like an id")
    return cleaned
