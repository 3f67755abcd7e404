"""Conditions on arguments: a closed form, and what cannot be decided counts as true."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.engine.tools.conditions import MAX_CHARACTERS, Condition

GIVEN: dict[str, Any] = {
    "amount": 150,
    "nan": float("nan"),
    "endless": float("inf"),
    "currency": "eur",
    "to": {"country": "de", "tags": ["new", "vip"]},
    "urgent": True,
    "note": None,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amount > 100", True),
        ("amount > 150", False),
        ("amount >= 150", True),
        ("100 < amount <= 149.5", False),
        ("amount == 150.0", True),
        ("amount < -1", False),
        ('currency != "eur"', False),
        ('currency in ["usd", "chf"]', False),
        ('currency not in ("usd", "eur")', False),
        ('"new" in to.tags', True),
        ('"ur" in currency', True),
        ('to.country == "de" and amount > 1000', False),
        ('to.country == "de" or amount > 1000', True),
        ("urgent", True),
        ("not urgent", False),
        ("urgent == true", True),
        ("note == null", True),
        ("note != null", False),
        ('note == "x"', False),
        # What cannot be decided is for people to look at.
        ("missing > 1", True),
        ("not missing > 1", True),
        ('amount > "100"', True),
        ("nan > 100", True),
        ("nan == 1", True),
        ("nan in [1, 2]", True),
        ("endless < 100", True),
        ("currency > 5", True),
        ("urgent > 0", True),
        ("urgent == 1", True),
        ('amount == "150"', True),
        ("to.street == 1", True),
        ("amount.cents == 1", True),
        ('currency in ["usd", 5]', True),
        ("5 in currency", True),
        ("amount", True),
        # Only as far as it matters.
        ("amount > 1000 and missing", False),
        ("amount > 100 or missing", True),
    ],
)
def test_what_holds(text: str, expected: bool) -> None:
    assert Condition.read(text).holds(GIVEN) is expected


@pytest.mark.parametrize(
    "text",
    [
        "", "amount >", "amount + 1 > 2", "len(amount) > 2", "__import__('os')", "amount.__class__()", "lambda: 1",
        "amount is 5", "5", '"x"', "[1]", "amount[0] == 1", "f'{amount}' == 1", "amount := 5", "amount if 1 else 2",
        "b'x' == amount", "1j == amount", "(" * 300 + "a" + ")" * 300, "a" * (MAX_CHARACTERS + 1),
        "a or " * 60 + "a", "a\x00b", "{'a': 1} == amount", "*amount",
    ],
)  # fmt: skip
def test_what_is_not_of_the_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Condition.read(text)


def test_it_knows_what_it_looks_at() -> None:
    assert Condition.read('amount > 1 and to.country == "de" or note == null').arguments == {"amount", "to", "note"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b"]), VALUES))
def test_whatever_a_model_sends_is_decided(arguments: dict[str, Any]) -> None:
    for text in ("a > 5", 'a.b == "x" or not b', "a in [1, 2]", "b in a", "a <= b < 3", "not a == null"):
        assert isinstance(Condition.read(text).holds(arguments), bool)


@given(st.text(max_size=40))
def test_whatever_stands_there_is_read_or_refused(text: str) -> None:
    try:
        condition = Condition.read(text)
    except ValueError:
        return
    assert isinstance(condition.holds(GIVEN), bool)
