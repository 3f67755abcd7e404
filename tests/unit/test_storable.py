"""Whatever a model emits can be stored and sent."""

import pytest

from hub.protocol.text import storable


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("", ""),
        ("naïve 🙂", "naïve 🙂"),
        ("a\0b", "a\ufffdb"),
        ("é\0", "é\ufffd"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("two halves \ud83d\ude42", "two halves 🙂"),
    ],
)
def test_what_cannot_be_stored_is_replaced(said: str, kept: str) -> None:
    assert storable(said) == kept
