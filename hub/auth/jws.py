"""Signed tokens as text: three segments, each spelt in one way, with objects that nobody can read in two ways.

What python-jose is given has been through here: it takes more than one spelling, and fields that are there twice.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import NoReturn

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def split(token: str, *, max_bytes: int) -> tuple[bytes, bytes]:
    """Header and payload, decoded and not yet believed. Raises `ValueError` for what has not the form of a token."""
    if len(token) > max_bytes or not _FORM.fullmatch(token):
        raise ValueError("it has not the form of a token")
    header, payload, _ = (_decode(segment) for segment in token.split("."))
    return header, payload


def read(text: str | bytes, *, number: Callable[[str], object] | None = None) -> dict[str, object]:
    """The JSON object in a text. `number` reads what is no whole number; without it there must be none. Raises
    `ValueError`."""
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_float=number or _no_number, parse_constant=_no_number)
    except RecursionError as e:
        raise ValueError("it is too deep") from e
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what is wrong is the text
    return found


def _decode(segment: str) -> bytes:
    decoded = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    # Bits that nobody reads could be set in many ways: only one spelling of a token is taken.
    if urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode():
        raise ValueError("it is spelt in an odd way")
    return decoded


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no whole number")
