"""What users may be called."""

import re

import pytest

from hub.auth.names import PATTERN, clean_name
from hub.domain.errors import BadRequest
from hub.domain.ids import new_id


@pytest.mark.parametrize("name", ["ann", "Ann Lee", "o'brien", "ann@example.org", "Zoë", "名前", "a", "x" * 64])
def test_ordinary_names(name: str) -> None:
    assert clean_name(name) == name
    assert re.search(PATTERN, name)


def test_composed_and_decomposed_are_kept_alike() -> None:
    assert clean_name("Zoe\u0308") == clean_name("Zo\u00eb")


@pytest.mark.parametrize(
    "name",
    ["", " ann", "ann ", "a/b", "a\uff0fb", "a\x00b", "a\nb", "ann\u200b", "\u202eann", "x" * 65, "\ud800", "\u2028"],
)
def test_names_that_pretend_or_break(name: str) -> None:
    with pytest.raises(BadRequest):
        clean_name(name)


def test_a_name_is_not_an_id() -> None:
    with pytest.raises(BadRequest):
        clean_name(new_id())
