"""Whatever a model emits can be stored and sent."""

import orjson
import pytest

from hub.protocol.text import storable
from hub.runs.turn import tool_called


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


@pytest.mark.parametrize("depth", [100, 254, 300, 900, 5_000])
def test_arguments_of_any_depth_can_be_written(depth: int) -> None:
    text = '{"n": ' + "[" * depth + "]" * depth + "}"
    written = orjson.loads(tool_called("c", "a", "n", text, 0).model_dump_json())
    assert written["arguments"] == (orjson.loads(text) if depth == 100 else {"invalid": text})
