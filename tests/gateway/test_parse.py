"""Poisoned frames: each is an error with a place, none an exception of another kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.gateway.parse import BadFrame, parse_command
from hub.protocol.commands import MessageSend, Ping, SessionJoin


def refused(text: str | None) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        parse_command(text)
    return caught.value


def test_commands_become_what_they_are() -> None:
    assert parse_command('{"id":"1","type":"ping"}') == Ping(id="1")
    assert parse_command('{"id":"1","type":"session.join","session":"s","after_seq":0}') == SessionJoin(
        id="1", session="s", after_seq=0
    )


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "null",
        "[]",
        '"ping"',
        "1e999",
        '{"id":"1","type":"ping"} {}',
        '{"id":"1","type":"ping","id":"2"}',
        '{"id":"1","type":"session.create","team":"t","metadata":{"a":NaN}}',
        '{"id":"1","type":"session.create","team":"t","metadata":{"a":Infinity}}',
        '{"id":"1","type":"session.create","team":"t","metadata":{"a":{"b":1,"b":2}}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"id":' + "9" * 5_000 + "}",
    ],
)
def test_what_is_no_json_object_has_no_id(text: str | None) -> None:
    assert refused(text).id is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, ""),
        ({"type": "nope"}, ""),
        ({"type": 5}, ""),
        ({"type": "ping", "extra": 1}, "extra"),
        ({"type": "message.send", "session": "s", "client_id": "c"}, ""),
        ({"type": "message.send", "session": "s", "client_id": "c", "text": ""}, "text"),
        ({"type": "message.send", "session": "s", "client_id": "c", "text": "x" * 32_001}, "text"),
        ({"type": "message.send", "session": "s", "client_id": "c", "text": "a\x00b"}, "text"),
        ({"type": "message.send", "session": "s", "client_id": "c", "text": "\ud800"}, "text"),
        ({"type": "message.send", "session": "s", "client_id": "x" * 65, "text": "a"}, "client_id"),
        ({"type": "message.send", "session": 5, "client_id": "c", "text": "a"}, "session"),
        ({"type": "session.join", "session": "s", "after_seq": -1}, "after_seq"),
        ({"type": "session.join", "session": "s", "after_seq": True}, "after_seq"),
        ({"type": "session.join", "session": "s", "after_seq": "3"}, "after_seq"),
        ({"type": "session.join", "session": "s", "after_seq": 2**53}, "after_seq"),
        ({"type": "session.create", "team": "t", "on_busy": "explode"}, "on_busy"),
        ({"type": "session.create", "team": "t", "metadata": {"\ud800": 1}}, "metadata"),
        ({"type": "session.create", "team": "t", "metadata": []}, "metadata"),
        ({"type": "presence.set", "session": "s", "status": "offline"}, "status"),
    ],
)
def test_what_is_no_command_keeps_its_id_and_names_the_field(fields: dict[str, object], field: str) -> None:
    bad = refused(json.dumps({"id": "my-id", **fields}))
    assert bad.id == "my-id"
    problems = bad.error.details["problems"]
    assert isinstance(problems, list)
    assert problems[0]["field"].split(".")[0] == field
    assert "x" * 100 not in bad.error.message


@pytest.mark.parametrize("id_", ["", "x" * 65, 5, None, [], "\ud800"])
def test_an_id_that_no_reply_can_carry_is_null(id_: object) -> None:
    assert refused(json.dumps({"id": id_, "type": "nope"})).id is None


def test_fields_with_odd_names_are_told_without_harm() -> None:
    bad = refused(json.dumps({"id": "1", "type": "ping", "\ud800" + "x" * 1_000: 1}))
    json.dumps(bad.error.details).encode()
    assert len(json.dumps(bad.error.details)) < 400


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_TYPES = st.sampled_from(
    ["auth", "ping", "session.create", "session.join", "message.send", "run.cancel", "input.respond"]
)
_NAMES = st.sampled_from(
    ["id", "session", "text", "client_id", "team", "metadata", "parts", "after_seq", "to", "token"]
)


@given(
    st.one_of(
        st.text(),
        _VALUES.map(json.dumps),
        st.builds(
            lambda type_, fields: json.dumps({**fields, "type": type_}), _TYPES, st.dictionaries(_NAMES, _VALUES)
        ),
    )
)
def test_anything_is_a_command_or_a_bad_frame(text: str) -> None:
    try:
        command = parse_command(text)
    except BadFrame as bad:
        json.dumps(bad.error.details).encode()
        bad.error.message.encode()
    else:
        command.id.encode()
        if isinstance(command, MessageSend):
            command.full_text.encode()
