import json
from datetime import UTC, datetime

import pytest

from hub.domain.ids import RunId, SessionId, new_id
from hub.protocol.durable import (
    DurableData,
    MemberRemovedData,
    MessageCompletedData,
    MessageRedactedData,
    RunFinishedData,
    TurnSupersededData,
)
from hub.protocol.frames import LoggedEvent
from hub.protocol.pieces import AgentAuthor, Person, UsageData
from hub.relay import envelope
from hub.relay.envelope import Kind

SESSION = SessionId(new_id())


def logged(data: DurableData, seq: int = 7) -> LoggedEvent:
    run = RunId(new_id())
    return LoggedEvent(SessionId(new_id()), seq, data.TYPE, run, datetime.now(UTC), data.model_dump_json())


def completed(text: str) -> MessageCompletedData:
    author = AgentAuthor(name="alpha", display_name="Alpha")
    return MessageCompletedData(message="m1", author=author, text=text, turn=0, status="complete", usage=UsageData())


def test_a_durable_event_keeps_its_bytes() -> None:
    event = logged(completed('a\nb "c" ü'))
    parsed = envelope.parse(envelope.durable(event))
    assert (parsed.session, parsed.kind, parsed.seq, parsed.frame) == (event.session, Kind.DURABLE, 7, event.frame())


@pytest.mark.parametrize(
    ("data", "closes"),
    [
        (completed("x"), "m1"),
        (TurnSupersededData(turn=0, attempt=2, messages=["m1"], reason="taken over"), envelope.ALL),
        (
            RunFinishedData(status="completed", reason="done", usage=UsageData(), input_seq=1, turns=2, duration_ms=5),
            envelope.ALL,
        ),
        (MessageRedactedData(message="m1", by=Person(id="u", name="n")), envelope.NOTHING),
        (MemberRemovedData(user="u1", name="n", role="editor"), envelope.LEFT + "u1"),
    ],
)
def test_it_says_which_open_messages_it_ends(data: DurableData, closes: str) -> None:
    assert envelope.parse(envelope.durable(logged(data))).message == closes


def test_an_event_over_64_kib_travels_as_a_pointer_to_the_log() -> None:
    event = logged(completed("x" * 65_000))
    assert len(event.frame()) < envelope.MAX_BYTES
    assert envelope.parse(envelope.durable(event)).kind is Kind.DURABLE
    payload = envelope.durable(logged(completed("x" * 66_000)))
    assert payload.endswith(b" R 7 -\n")
    assert envelope.parse(payload).kind is Kind.READ_LOG


def test_a_snapshot_over_64_kib_travels_without_its_frame() -> None:
    frame = json.dumps({"text": "x" * 70_000}).encode()
    parsed = envelope.parse(envelope.snapshot(SESSION, "m1", 4, 3, frame))
    assert (parsed.kind, parsed.message, parsed.index, parsed.seq, parsed.frame) == (Kind.SNAPSHOT, "m1", 4, 3, b"")


def test_deltas_and_live_frames() -> None:
    parsed = envelope.parse(envelope.delta(SESSION, "m1", 5, 9, b"{}"))
    assert (parsed.kind, parsed.message, parsed.index, parsed.n, parsed.seq) == (Kind.DELTA, "m1", 5, 1, 9)
    assert envelope.parse(envelope.live(SESSION, b"{}")).frame == b"{}"


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n",
        b"L",
        b"L\n",
        b"L\nhello",
        b"E 1\n{}",
        b"E x -\n{}",
        b"E -1 -\n{}",
        b"E 1 -\n",
        b"E 99999999999999999999 -\n{}",
        b"R 1 -\n{}",
        b"D m 0 1\n{}",
        b"D m 0 1 2\n",
        b"Z 1\n{}",
        b"\xff\xfe 1 -\n{}",
        b'{"type":"message.delta"}',
        b"s",
        b"s L\n",
        b"s E x -\n{}",
        b"s E 1 -\n",
        b"s R 1 -\n{}",
        b"s D m 0 1\n{}",
        b"s D m 0 1 2\n",
        b"s Z 1\n{}",
        b"s s L\n{}",
    ],
)
def test_junk_is_no_envelope(junk: bytes) -> None:
    with pytest.raises(ValueError):
        envelope.parse(junk)
