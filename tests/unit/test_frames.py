"""Frames: what the hub writes, its own client models read back."""

import json
from datetime import UTC, datetime

import orjson
import pytest

from hub.domain.ids import RunId, SessionId, UserId
from hub.protocol import durable, events, frames, pieces
from hub.protocol.frames import DeltaFrames, LoggedEvent, Reply, ReplyError, Unknown, parse_server_frame

SESSION, RUN = SessionId("s-1"), RunId("r-1")
MOMENT = datetime(2026, 11, 22, 20, 0, 0, 123_999, tzinfo=UTC)


def test_times_are_utc_with_milliseconds() -> None:
    assert frames.timestamp(MOMENT) == "2026-11-22T20:00:00.123Z"


def test_hello_is_what_its_model_says() -> None:
    limits = frames.HelloLimits(frame_bytes=1, commands_per_minute=2, sessions=3)
    for name in ("ann", 'a "quote" \\ and é 😀\n'):
        made = frames.HelloFrames("host:1:a", 25, limits).frame("c-1", UserId("u-1"), name, MOMENT)
        hello = frames.Hello(
            connection="c-1",
            user=pieces.Person(id="u-1", name=name),
            node="host:1:a",
            expires_at="2026-11-22T20:00:00.123Z",
            heartbeat_s=25,
            limits=limits,
        )
        assert made == hello.model_dump_json().encode()


def test_a_durable_event_has_a_seq_and_keeps_its_data_byte_for_byte() -> None:
    data = '{"input_seq": 3,   "é":"\\n"}'
    frame = LoggedEvent(SESSION, 7, "run.queued", RUN, MOMENT, data).frame()
    assert frame.decode().endswith(f'"data":{data}}}')
    assert json.loads(frame) == {
        "type": "run.queued",
        "session": "s-1",
        "seq": 7,
        "run": "r-1",
        "ts": "2026-11-22T20:00:00.123Z",
        "data": {"input_seq": 3, "é": "\n"},
    }


def test_an_event_of_no_run_has_no_run() -> None:
    frame = LoggedEvent(SESSION, 1, "member.added", None, MOMENT, '{"user":"u","name":"n","role":"owner"}').frame()
    assert "run" not in json.loads(frame)
    parsed = parse_server_frame(frame)
    assert isinstance(parsed, events.MemberAdded)
    assert parsed.data.role == "owner"


def test_deltas_and_snapshots_are_live_events_of_their_message() -> None:
    built = DeltaFrames(SESSION, RUN, "m-1", 2, "alpha", 'The "first"')
    delta = parse_server_frame(built.delta(5, 'a "quote"\n\u2028'))
    snapshot = parse_server_frame(built.snapshot(6, "all"))
    reasoning = parse_server_frame(built.reasoning(0, "hm"))
    assert isinstance(delta, events.MessageDelta)
    assert (delta.data.index, delta.data.text, delta.data.n) == (5, 'a "quote"\n\u2028', None)
    assert delta.data.author.display_name == 'The "first"'
    assert isinstance(snapshot, events.MessageSnapshot)
    assert (snapshot.data.index, snapshot.data.text, snapshot.data.turn) == (6, "all", 2)
    assert isinstance(reasoning, events.ReasoningDelta)
    assert b'"seq"' not in built.delta(0, "")
    assert b"\n" not in built.delta(0, "a\nb")


def test_replies_have_a_result_or_an_error() -> None:
    good = parse_server_frame(frames.ok("7", {"a": 1}))
    bad = parse_server_frame(frames.failed(None, ReplyError(code="busy", message="m", retryable=True)))
    assert good == Reply(id="7", ok=True, result={"a": 1})
    assert orjson.loads(frames.failed("1", ReplyError(code="busy", message="m", retryable=True))) == {
        "type": "reply",
        "id": "1",
        "ok": False,
        "error": {"code": "busy", "message": "m", "retryable": True, "retry_after": None, "details": {}},
    }
    assert isinstance(bad, Reply)
    assert bad.error is not None
    assert bad.id is None


def test_optional_fields_are_left_out_and_nullable_ones_are_null() -> None:
    created = durable.MessageCreatedData(
        message="m", author=pieces.UserAuthor(id="u", name="n"), text="t", parts=[], client_id="c", to=None
    )
    assert orjson.loads(created.model_dump_json())["to"] is None
    completed = durable.MessageCompletedData(
        message="m",
        author=pieces.AgentAuthor(name="a", display_name="A"),
        text="t",
        turn=0,
        status="complete",
        usage=pieces.UsageData(),
    )
    assert "reasoning" not in orjson.loads(completed.model_dump_json())


def test_a_handoff_says_from() -> None:
    data = durable.AgentHandoffData.model_validate({"from": "a", "to": "b", "reason": "r"})
    assert orjson.loads(data.model_dump_json()) == {"from": "a", "to": "b", "reason": "r"}


@pytest.mark.parametrize("raw", ['{"type":"brand.new","x":1}', '{"type":"brand.new"}'])
def test_unknown_events_are_kept_apart_for_clients_to_ignore(raw: str) -> None:
    assert isinstance(parse_server_frame(raw), Unknown)


def test_unknown_fields_are_ignored() -> None:
    frame = '{"type":"resync","session":"s","new":1,"data":{"from_seq":1,"reason":"r","x":2}}'
    parsed = parse_server_frame(frame)
    assert isinstance(parsed, events.Resync)
    assert parsed.data.from_seq == 1
