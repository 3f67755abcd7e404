"""Commands: one closed union, strict about everything a client sends."""

import json

import pytest
from pydantic import ValidationError

from hub.protocol.commands import COMMAND, MessageSend, SessionJoin
from hub.protocol.text import MAX_TEXT


def parse(**fields: object) -> object:
    return COMMAND.validate_json(json.dumps({"id": "1", **fields}))


def test_a_command_is_told_apart_by_its_type() -> None:
    assert parse(type="session.join", session="s", after_seq=3) == SessionJoin(id="1", session="s", after_seq=3)


def test_parts_stand_for_text() -> None:
    sent = parse(type="message.send", session="s", client_id="c", parts=[{"type": "text", "text": "a"}, {"text": "b"}])
    assert isinstance(sent, MessageSend)
    assert sent.full_text == "a\nb"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": "nonsense"},
        {"type": "ping", "extra": 1},
        {"type": "session.join", "session": "s", "after_seq": "3"},
        {"type": "session.join", "session": "s", "after_seq": True},
        {"type": "session.join", "session": "s", "after_seq": -1},
        {"type": "session.join", "session": "s", "after_seq": 2**53},
        {"type": "message.send", "session": "s", "client_id": "c"},
        {"type": "message.send", "session": "s", "client_id": "c", "text": ""},
        {"type": "message.send", "session": "s", "client_id": "c", "text": "x" * (MAX_TEXT + 1)},
        {"type": "message.send", "session": "s", "client_id": "c", "parts": [{"text": "x" * MAX_TEXT}] * 2},
        {"type": "message.send", "session": "s", "client_id": "c", "parts": [{"type": "image", "text": "x"}]},
        {"type": "message.send", "session": "s", "client_id": "c" * 65, "text": "x"},
        {"type": "message.send", "session": "s", "client_id": "", "text": "x"},
        {"type": "message.send", "session": "s", "client_id": "c", "text": "a\0b"},
        {"type": "message.send", "session": "s", "client_id": "c", "text": "x", "on_busy": "panic"},
        {"type": "session.create", "team": "t", "metadata": {"a": "x" * 20_000}},
        {"type": "session.create", "team": "t", "metadata": {"a\0": 1}},
        {"type": "session.create", "team": "t", "metadata": [1]},
        {"type": "session.create", "team": "t", "title": "x" * 201},
        {"type": "presence.set", "session": "s", "status": "offline"},
    ],
)
def test_bad_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        parse(**fields)


@pytest.mark.parametrize(
    "raw", ["", "[]", "1", '"x"', "{", '{"id":"1","type":"ping"} x', '{"id":"\\ud800","type":"ping"}']
)
def test_what_is_not_one_object_is_refused(raw: str) -> None:
    with pytest.raises(ValidationError):
        COMMAND.validate_json(raw)


def test_deep_metadata_is_refused_without_harm() -> None:
    deep: object = 1
    for _ in range(50):
        deep = [deep]
    with pytest.raises(ValidationError, match="nested"):
        parse(type="session.create", team="t", metadata={"a": deep})


def test_the_id_of_a_command_is_bounded() -> None:
    with pytest.raises(ValidationError):
        COMMAND.validate_json(json.dumps({"id": "x" * 65, "type": "ping"}))
