"""Open messages: whatever is lost, repeated, merged or late, what is handed on can be appended."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.events import AnyEvent, MessageDelta, MessageSnapshot
from hub.protocol.frames import Hello, Reply, Unknown, parse_server_frame
from hub_client.assembly import REMEMBERED_ENDS, OpenMessages
from tests.unit import played_hub as play


def parsed(frame: dict[str, Any]) -> AnyEvent:
    event = parse_server_frame(json.dumps(frame))
    assert not isinstance(event, Hello | Reply | Unknown)
    return event


def apply(messages: OpenMessages, *frames: dict[str, Any]) -> list[bool]:
    return [messages.apply(parsed(frame)) for frame in frames]


def text(messages: OpenMessages, message: str = "m1") -> str:
    found = messages.get(message)
    assert found is not None
    return found.text


def test_deltas_append_and_repeated_ones_are_dropped() -> None:
    messages = OpenMessages()
    assert apply(messages, play.delta(0, "a"), play.delta(1, "b"), play.delta(1, "b"), play.delta(0, "a")) == [
        True,
        True,
        False,
        False,
    ]
    assert text(messages) == "ab"


def test_a_merged_delta_counts_for_all_its_pieces() -> None:
    messages = OpenMessages()
    assert apply(messages, play.delta(0, "a"), play.delta(1, "bcd", n=3), play.delta(4, "e")) == [True, True, True]
    assert text(messages) == "abcde"


def test_after_a_missing_piece_the_message_waits_for_a_snapshot() -> None:
    messages = OpenMessages()
    assert apply(messages, play.delta(0, "a"), play.delta(2, "c"), play.delta(3, "d")) == [True, False, False]
    waiting = messages.get("m1")
    assert waiting is not None
    assert waiting.waiting
    assert apply(messages, play.snapshot(4, "abcd"), play.delta(3, "d"), play.delta(4, "e")) == [True, False, True]
    assert text(messages) == "abcde"
    assert not waiting.waiting


def test_a_merged_delta_that_overlaps_what_is_there_is_waited_out() -> None:
    messages = OpenMessages()
    assert apply(messages, play.delta(0, "a"), play.delta(1, "b"), play.delta(1, "bc", n=2)) == [True, True, False]
    waiting = messages.get("m1")
    assert waiting is not None
    assert waiting.waiting


def test_a_late_joiner_waits_for_the_snapshot() -> None:
    messages = OpenMessages()
    assert apply(messages, play.delta(7, "x"), play.snapshot(8, "whole"), play.delta(8, "!")) == [False, True, True]
    assert text(messages) == "whole!"


def test_an_ended_message_does_not_come_back() -> None:
    messages = OpenMessages()
    apply(messages, play.delta(0, "a"), play.completed(5, "ab"))
    assert len(messages) == 0
    assert apply(messages, play.delta(1, "b"), play.snapshot(2, "ab")) == [False, False]
    assert len(messages) == 0


def test_a_superseded_turn_and_a_finished_run_end_their_open_messages() -> None:
    messages = OpenMessages()
    apply(messages, play.delta(0, "a", message="m1"), play.delta(0, "b", message="m2"))
    apply(messages, play.event("turn.superseded", 3, turn=0, attempt=2, messages=["m1"], reason="worker lost"))
    assert [message.message for message in messages] == ["m2"]
    apply(messages, play.finished(4))
    assert len(messages) == 0


def test_what_is_remembered_of_ended_messages_is_bounded() -> None:
    messages = OpenMessages()
    for number in range(REMEMBERED_ENDS + 10):
        apply(messages, play.completed(number + 1, "x", message=f"m{number}"))
    assert apply(messages, play.delta(0, "a", message="m0"), play.delta(0, "a", message="m20")) == [True, False]


def test_reasoning_is_kept_apart_and_forgives_holes() -> None:
    messages = OpenMessages()

    def reasoning(index: int, piece: str) -> dict[str, Any]:
        return play.event("reasoning.delta", message="m1", turn=0, author=play.AGENT, index=index, text=piece)

    assert apply(messages, reasoning(0, "hm"), reasoning(0, "hm"), reasoning(2, "so")) == [True, False, True]
    message = messages.get("m1")
    assert message is not None
    assert (message.reasoning, message.text) == ("hmso", "")


@given(
    st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=12),
    st.data(),
)
def test_any_mix_of_loss_repetition_merging_and_snapshots_keeps_a_true_prefix(
    tokens: list[str], data: st.DataObject
) -> None:
    messages = OpenMessages()
    shown = ""
    whole = "".join(tokens)
    for _ in range(data.draw(st.integers(1, 30))):
        start = data.draw(st.integers(0, len(tokens)))
        if data.draw(st.booleans()):
            n = data.draw(st.integers(1, 3))
            piece = tokens[start : start + n]
            if not piece:
                continue
            event = parsed(play.delta(start, "".join(piece), n=len(piece)))
        else:
            event = parsed(play.snapshot(start, "".join(tokens[:start])))
        assert isinstance(event, MessageDelta | MessageSnapshot)
        if messages.apply(event):
            shown = shown + event.data.text if isinstance(event, MessageDelta) else event.data.text
        known = messages.get("m1")
        assert known is not None
        assert shown == known.text
        assert known.text == "".join(tokens[: known.index])
    assert whole.startswith(shown)
