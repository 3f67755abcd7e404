"""One extractor for every spelling of the Authorization header."""

import pytest

from hub.auth.header import bearer_token
from hub.domain.errors import Unauthenticated


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", " Bearer abc "])
def test_spellings_of_a_bearer_token(value: str) -> None:
    assert bearer_token([value]) == "abc"


def test_no_header() -> None:
    assert bearer_token([]) is None


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "abc", "Basic abc", "Bearer a b", "Bearer\tabc", "Token abc"]
)
def test_a_header_that_cannot_be_used_is_not_skipped(value: str) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token([value])


def test_two_headers_are_refused() -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(["Bearer a", "Bearer a"])
