"""The load tests' judge: it lets everything right pass, and names everything wrong."""

from typing import Any

import orjson
import pytest

from loadtests.judge import Judge, script
from loadtests.measure import percentile, worker_pid
from tests.unit import played_hub as play

WHOLE = [
    play.turn(1),
    play.delta(0, "t0.0 "),
    play.delta(1, "t0.1 t0.2 ", n=2),
    play.snapshot(4, "t0.0 t0.1 t0.2 t0.3 "),
    play.delta(4, "t0.4 "),
    play.event("resync", from_seq=1, reason="lag"),
    play.completed(2, "t0.0 t0.1 t0.2 t0.3 t0.4 "),
    play.finished(3),
]


def verdict(frames: list[dict[str, Any]], *, as_lines: bool = False) -> Judge:
    judge = Judge()
    for frame in frames:
        if as_lines:
            judge.see_line(orjson.dumps(frame))
        else:
            judge.see(frame)
    return judge


@pytest.mark.parametrize("as_lines", [False, True])
def test_what_is_right_passes(as_lines: bool) -> None:
    judge = verdict(WHOLE, as_lines=as_lines)
    assert not judge.anomalies
    assert (judge.tokens, judge.completed, judge.snapshots, judge.merged, judge.resyncs) == (4, 1, 1, 1, 1)
    assert (judge.finished, judge.seq, len(judge.lags)) == ({"r1"}, 3, 3)


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([play.turn(1), play.turn(3)], "gap"),
        ([play.turn(1), play.turn(1)], "duplicate"),
        ([play.delta(0, "t0.0 "), play.delta(2, "t0.2 ")], "delta out of place"),
        ([play.delta(0, "t0.0 "), play.delta(0, "t0.0 ")], "delta out of place"),
        ([play.delta(0, "t0.1 "), play.completed(1, "t0.0 ")], "streamed text differs"),
        ([play.completed(1, "t0.1 ")], "wrong text"),
        ([play.finished(1, "cancelled")], "run cancelled"),
    ],
)
def test_what_is_wrong_is_named(frames: list[dict[str, Any]], kind: str) -> None:
    assert verdict(frames).anomalies[kind] == 1
    assert verdict(frames, as_lines=True).anomalies[kind] == 1


def test_tokens_known_by_their_bytes_are_judged_like_others() -> None:
    tokens = [play.delta(i, f"t0.{i} ") for i in range(5)]
    judge = verdict([*tokens, play.completed(1, "t0.0 t0.1 t0.2 t0.3 t0.4 ")], as_lines=True)
    assert (judge.anomalies, judge.tokens, judge.deltas, len(judge.lags)) == ({}, 5, 5, 5)
    for wrong in (
        [*tokens, play.delta(6, "t0.6 ")],
        [*tokens, play.delta(4, "t0.4 ")],
        [*tokens, play.delta(5, "t0.4 "), play.completed(1, "t0.0 t0.1 t0.2 t0.3 t0.4 t0.5 ")],
        [*tokens, play.delta(5, "t0.5 "), play.completed(1, "t0.0 t0.1 t0.2 t0.3 t0.4 ")],
    ):
        assert verdict(wrong, as_lines=True).anomalies.total() == 1


def test_a_void_turn_and_a_new_connection_start_over() -> None:
    void = play.event("turn.superseded", 1, turn=0, attempt=2, messages=["m1"], reason="worker lost")
    judge = verdict([play.delta(0, "t0.0 "), void, play.delta(0, "t0.0 ")])
    judge.reconnected()
    judge.see(play.delta(0, "t0.0 "))
    assert not judge.anomalies


def test_numbers() -> None:
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([7], 0.5) == 7
    assert str(percentile([], 0.5)) == "nan"
    assert worker_pid("another-machine:12:x") is None
    assert script(40, 20.0) == "/script turns=1 tokens=40 rate=20"
