"""Ids are time-ordered, unique, and strict about what they accept."""

import uuid

import pytest

from hub.domain.ids import new_id, parse_id, uuid7


def test_ids_grow_with_time_and_carry_version_and_variant() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {"specified in RFC 4122"}
    assert [i.int >> 80 for i in ids] == sorted(i.int >> 80 for i in ids)


def test_an_id_of_ours_parses_to_itself() -> None:
    id_ = new_id()
    assert parse_id(id_) == id_ == str(uuid.UUID(id_))
    assert parse_id(id_.upper()) == id_


@pytest.mark.parametrize("text", ["", "x", "0" * 36, "{0190b5a0-0000-7000-8000-00000000000}", "0" * 32, "é" * 36])
def test_what_cannot_be_an_id_is_none(text: str) -> None:
    assert parse_id(text) is None
