"""The checker finds every anomaly: one planted in a good history turns it red, and nothing else does."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.checker import check
from tests.faults.history import Record

S = "session"
TEXT = "/script turns=1 tokens=2 tool=counter key=k"


def event(seq: int, type_: str, run: str | None = "r1", **data: Any) -> Record:
    made: Record = {"type": type_, "session": S, "seq": seq, "ts": "2026-01-01T00:00:00.000Z", "data": data}
    return made if run is None else {**made, "run": run}


def live(type_: str, index: int, text: str, message: str = "m1", run: str = "r1") -> Record:
    return {
        "type": type_,
        "session": S,
        "run": run,
        "data": {"message": message, "turn": 0, "index": index, "text": text},
    }


LOG = [
    event(
        1,
        "message.created",
        None,
        message="u1",
        author={"kind": "user", "id": "ada", "name": "ada"},
        text=TEXT,
        client_id="c1",
    ),
    event(2, "run.queued", input_seq=1),
    event(3, "run.started", team="scripted", attempt=1, node="n1"),
    event(4, "turn.started", turn=0, agent="alpha", attempt=1),
    event(5, "tool.called", call="t1", name="counter", arguments={"key": "k"}, turn=0),
    event(6, "tool.returned", call="t1", name="counter", result="1", is_error=False),
    event(7, "message.completed", message="m1", text="t0.0 t0.1 ", turn=0, status="complete"),
    event(8, "run.finished", status="completed", reason="done", input_seq=1, turns=1),
]
AUDIT = [{"type": "grant", "run": "r1", "epoch": 1, "writer": "n1"}] + [
    {"type": e["type"], "run": "r1", "epoch": 1, "writer": "n1"} for e in LOG[2:]
]


def good() -> list[Record]:
    """One message, one run, one follower who saw the tokens, one who came late, one reader."""
    seen = [*LOG[:6], live("message.delta", 0, "t0.0 "), live("message.delta", 1, "t0.1 "), *LOG[6:]]
    history: list[Record] = [
        {"k": "member", "user": "ada", "session": S},
        {"k": "open", "c": "a", "user": "ada", "node": "n1"},
        {"k": "join", "c": "a", "session": S, "after": 0},
        {"k": "joined", "c": "a", "session": S, "last_seq": 0, "replay_from": 1},
        {"k": "try", "op": "o1", "session": S, "user": "ada", "client_id": "c1", "text": TEXT},
        {"k": "ok", "op": "o1", "seq": 1, "message": "u1", "run": "r1"},
        *({"k": "in", "c": "a", "f": frame} for frame in seen),
        {"k": "open", "c": "b", "user": "ada", "node": "n2"},
        {"k": "join", "c": "b", "session": S, "after": 6},
        {"k": "joined", "c": "b", "session": S, "last_seq": 8, "replay_from": 7},
        *({"k": "in", "c": "b", "f": frame} for frame in LOG[6:]),
        {"k": "read", "op": "q1", "session": S},
        {"k": "read.ok", "op": "q1", "last_seq": 8, "items": LOG},
        {"k": "log", "session": S, "items": LOG},
        {"k": "transcript", "session": S, "items": [{"message": "u1", "seq": 1}, {"message": "m1", "seq": 7}]},
        {"k": "run", "id": "r1", "status": "completed"},
        {"k": "effect", "key": "k", "value": 1},
        {"k": "audit", "items": AUDIT},
    ]
    return [{"t": number / 100, **copy.deepcopy(record)} for number, record in enumerate(history)]


def test_a_good_history_is_good() -> None:
    report = check(good())
    assert report.anomalies == {}
    assert report.ledger["acked"] == report.ledger["persisted"] == 1
    assert report.ledger["delivered: live"] == 8
    assert report.ledger["delivered: replay"] == 2
    assert report.ledger["deltas"] == 2


def test_a_turn_that_a_bot_speaks_is_good() -> None:
    history = good()
    spoken(history)
    report = check(history)
    assert report.anomalies == {}
    assert report.ledger["turns spoken by bots"] == 1
    history = good()
    spoken(history, "t0.0~b2 t0.1~b2 ", retry=1)
    history[:] = [r for r in history if r["k"] != "said"]
    assert check(history).anomalies == {}, "who was lost in the middle is followed by another"


# ---- what may be planted


def log_of(history: list[Record]) -> list[Record]:
    items: list[Record] = next(r for r in history if r["k"] == "log")["items"]
    return items


def frames(history: list[Record], c: str = "a") -> list[int]:
    return [number for number, r in enumerate(history) if r["k"] == "in" and r["c"] == c]


def say(history: list[Record], *records: Record, before: str = "log") -> None:
    at = next(number for number, r in enumerate(history) if r["k"] == before)
    history[at:at] = [{"t": history[at]["t"], **record} for record in records]


def without_reads(history: list[Record]) -> None:
    """Only the final log is left to disagree with."""
    history[:] = [r for r in history if r["k"] not in ("in", "read", "read.ok", "joined", "join", "open", "transcript")]


def lost_acked(h: list[Record]) -> None:
    without_reads(h)
    log_of(h)[0]["data"]["client_id"] = "another"


def duplicate(h: list[Record]) -> None:
    without_reads(h)
    copied = copy.deepcopy(log_of(h)[0])
    log_of(h).append({**copied, "seq": 9})


def duplicate_ack(h: list[Record]) -> None:
    say(h, {"k": "ok", "op": "o1", "seq": 1, "message": "u2", "run": "r1"}, before="log")
    say(h, {"k": "ok", "op": "o1", "seq": 1, "message": "u1", "run": "r1"}, before="log")


def acked_elsewhere(h: list[Record]) -> None:
    next(r for r in h if r["k"] == "ok")["message"] = "u9"


def two_observers_differ(h: list[Record]) -> None:
    h[frames(h)[3]]["f"]["data"]["agent"] = "beta"


def gap(h: list[Record]) -> None:
    without_reads(h)
    del log_of(h)[6]


def comes_twice(h: list[Record]) -> None:
    at = frames(h)[2]
    h.insert(at, h[at])


def goes_back(h: list[Record]) -> None:
    at = frames(h)
    h.insert(at[5], h[at[1]])


def skips(h: list[Record]) -> None:
    del h[frames(h)[2]]


def never_comes(h: list[Record]) -> None:
    del h[frames(h)[-1]]


def phantom(h: list[Record]) -> None:
    for c in ("a", "b"):
        h.insert(
            frames(h, c)[-1] + 1, {"k": "in", "t": 1.0, "c": c, "f": event(9, "message.redacted", None, message="x")}
        )


def refused_and_there(h: list[Record]) -> None:
    h[:] = [
        {"k": "fail", "t": r["t"], "op": "o1", "code": "forbidden", "retryable": False} if r["k"] == "ok" else r
        for r in h
    ]


def ack_inversion(h: list[Record]) -> None:
    say(
        h,
        {"k": "try", "op": "o2", "session": S, "user": "ada", "client_id": "c2", "text": "hi"},
        {"k": "ok", "op": "o2", "seq": 1, "message": "u2", "run": None},
    )
    log_of(h).append(event(9, "message.created", None, message="u2", author={"id": "ada"}, text="hi", client_id="c2"))


def stale_read(h: list[Record]) -> None:
    answer = next(r for r in h if r["k"] == "read.ok")
    answer["last_seq"], answer["items"] = 0, []


def stale_join(h: list[Record]) -> None:
    [r for r in h if r["k"] == "joined"][1]["last_seq"] = 0


def double_effect(h: list[Record]) -> None:
    next(r for r in h if r["k"] == "effect")["value"] = 2


def called_twice(h: list[Record]) -> None:
    without_reads(h)
    items = log_of(h)
    items[6:6] = [copy.deepcopy(items[4]), copy.deepcopy(items[5])]
    for number, item in enumerate(items, start=1):
        item["seq"] = number


def written_by_another(h: list[Record]) -> None:
    next(r for r in h if r["k"] == "audit")["items"][4]["writer"] = "n2"


def old_epoch(h: list[Record]) -> None:
    items = next(r for r in h if r["k"] == "audit")["items"]
    items.append({"type": "grant", "run": "r1", "epoch": 1, "writer": "n2"})


def old_attempt(h: list[Record]) -> None:
    without_reads(h)
    log_of(h)[3]["data"]["attempt"] = 0


def written_after_the_end(h: list[Record]) -> None:
    without_reads(h)
    log_of(h).append(event(9, "tool.called", call="t2", name="clock", arguments={}, turn=0))


def no_end(h: list[Record]) -> None:
    h[:] = [r for r in h if r["k"] not in ("in", "read", "read.ok", "joined", "join", "open")]
    log_of(h).pop()


def still_running(h: list[Record]) -> None:
    next(r for r in h if r["k"] == "run")["status"] = "running"


def strangers_session(h: list[Record]) -> None:
    next(r for r in h if r["k"] == "member")["user"] = "bob"


def not_followed(h: list[Record]) -> None:
    h.insert(frames(h)[3], {"k": "in", "t": 1.0, "c": "a", "f": {**LOG[0], "session": "other"}})


def ambiguous(h: list[Record]) -> None:
    duplicate(h)
    h[:] = [{"k": "info", "t": r["t"], "op": "o1", "why": "no answer"} if r["k"] == "ok" else r for r in h]


def other_tokens(h: list[Record]) -> None:
    h[frames(h)[6]]["f"]["data"]["text"] = "t9.9 "


def taken_back(h: list[Record]) -> None:
    h.insert(frames(h)[8], {"k": "in", "t": 1.0, "c": "a", "f": live("message.snapshot", 3, "something else")})


def delta_after_the_end(h: list[Record]) -> None:
    h.insert(frames(h)[-1] + 1, {"k": "in", "t": 1.0, "c": "a", "f": live("message.delta", 2, "t0.2 ", message="m2")})


def shown_and_gone(h: list[Record]) -> None:
    h.insert(frames(h)[6], {"k": "in", "t": 1.0, "c": "a", "f": live("message.delta", 0, "t0.0 ", message="m0")})


def begun_again(h: list[Record]) -> None:
    without_reads(h)
    items = log_of(h)
    items.insert(4, copy.deepcopy(items[3]))
    for number, item in enumerate(items, start=1):
        item["seq"] = number


def wrong_text(h: list[Record]) -> None:
    without_reads(h)
    log_of(h)[6]["data"]["text"] = "t0.0 "


def turn_missing(h: list[Record]) -> None:
    without_reads(h)
    del log_of(h)[6]
    log_of(h)[6]["seq"] = 7


def not_exported(h: list[Record]) -> None:
    del next(r for r in h if r["k"] == "transcript")["items"][0]


# ---- turns that bots speak


def spoken(h: list[Record], text: str = "t0.0~a1 t0.1~a1 ", **other: Any) -> None:
    """The turn was a bot's: `a1` is the offer that was spoken; `other` is one beside it."""
    for r in h:
        if r["k"] == "log":
            r["items"][6]["data"]["text"] = text
    h[:] = [r for r in h if r["k"] not in ("in", "read", "read.ok")]
    offer = {"k": "offered", "c": "bot", "session": S, "run": "r1", "turn": 0, "attempt": 1, "retry": 0, "offer": "a1"}
    end = {"k": "said", "c": "bot", "offer": "a1", "command": "turn.complete", "ok": True, "code": "", "late": ""}
    say(h, offer, *([{**offer, "offer": "b2", **other}] if other else []), end)
    h[:] = [r for r in h if r["k"] not in ("open", "join", "joined")]


def in_two_hands(h: list[Record]) -> None:
    spoken(h, retry=0)


def offered_after_its_end(h: list[Record]) -> None:
    spoken(h, retry=1)


def words_of_two(h: list[Record]) -> None:
    spoken(h, "t0.0~a1 t0.1~b2 ", run="r2")


def words_of_who_had_lost_it(h: list[Record]) -> None:
    spoken(h, retry=1)
    h[:] = [r for r in h if r["k"] != "said"]


def words_of_an_old_attempt(h: list[Record]) -> None:
    spoken(h, "t0.0~b2 t0.1~b2 ", attempt=0)


def words_of_nobody(h: list[Record]) -> None:
    spoken(h, "t0.0~c3 t0.1~c3 ")


def words_that_came_late(h: list[Record]) -> None:
    spoken(h)
    next(r for r in h if r["k"] == "said")["late"] = "silent"


def half_a_turn(h: list[Record]) -> None:
    spoken(h, "t0.0~a1 ")


# ---- people who were suspended


def suspended(h: list[Record]) -> None:
    say(h, {"k": "ended", "user": "ada", "t": -8.0}, before="try")


def suspended_and_let_in(h: list[Record]) -> None:
    say(h, {"k": "ended", "user": "ada", "t": -8.0}, before="read")
    say(h, {"k": "open", "c": "c", "user": "ada", "node": "n1"}, before="read")


PLANTED: list[tuple[str, Callable[[list[Record]], None]]] = [
    ("lost-acked", lost_acked),
    ("duplicate", duplicate),
    ("duplicate", duplicate_ack),
    ("inconsistent-seq", acked_elsewhere),
    ("inconsistent-seq", two_observers_differ),
    ("inconsistent-seq", not_exported),
    ("gap", gap),
    ("non-monotonic", comes_twice),
    ("non-monotonic", goes_back),
    ("skipped", skips),
    ("skipped", never_comes),
    ("phantom", phantom),
    ("phantom", refused_and_there),
    ("ack-inversion", ack_inversion),
    ("stale-read", stale_read),
    ("stale-read", stale_join),
    ("double-effect", double_effect),
    ("double-effect", called_twice),
    ("zombie-write", written_by_another),
    ("zombie-write", old_epoch),
    ("zombie-write", old_attempt),
    ("zombie-write", written_after_the_end),
    ("stuck", no_end),
    ("stuck", still_running),
    ("cross-tenant", strangers_session),
    ("cross-tenant", not_followed),
    ("ambiguous-ack", ambiguous),
    ("not-a-prefix", other_tokens),
    ("not-a-prefix", taken_back),
    ("late-delta", delta_after_the_end),
    ("unannounced", shown_and_gone),
    ("unannounced", begun_again),
    ("wrong-text", wrong_text),
    ("wrong-text", turn_missing),
    ("wrong-text", half_a_turn),
    ("double-turn", in_two_hands),
    ("double-turn", offered_after_its_end),
    ("double-turn", words_of_two),
    ("late-words", words_of_who_had_lost_it),
    ("late-words", words_that_came_late),
    ("zombie-write", words_of_an_old_attempt),
    ("phantom", words_of_nobody),
    ("late-right", suspended),
    ("late-right", suspended_and_let_in),
]


@pytest.mark.parametrize(("kind", "plant"), PLANTED, ids=[f"{kind}: {p.__name__}" for kind, p in PLANTED])
def test_a_planted_anomaly_is_found(kind: str, plant: Callable[[list[Record]], None]) -> None:
    history = good()
    plant(history)
    report = check(history)
    assert report.anomalies[kind] > 0, report.anomalies


def test_who_is_themselves_again_may_do_everything() -> None:
    history = good()
    suspended(history)
    say(history, {"k": "restored", "user": "ada"}, before="try")
    assert check(history).anomalies == {}


def test_a_declared_resync_is_none() -> None:
    history = good()
    at = frames(history)
    again = {
        "k": "in",
        "t": 1.0,
        "c": "a",
        "f": {"type": "resync", "session": S, "data": {"from_seq": 2, "reason": "x"}},
    }
    history[at[5] : at[5]] = [again, *(history[number] for number in at[2:5])]
    assert check(history).anomalies == {}


@pytest.mark.parametrize("paused", [False, True])
def test_a_superseded_turn_is_done_again(paused: bool) -> None:
    """The first attempt showed a token, was superseded, and the second one is what counts."""
    history = good()
    again = [
        *copy.deepcopy(LOG[:4]),
        event(5, "turn.superseded", turn=0, attempt=1, messages=[], reason="lost"),
        event(6, "run.started", team="scripted", attempt=2, node="n2"),
        event(7, "turn.started", turn=0, agent="alpha", attempt=2),
        {**LOG[6], "seq": 8},
        {**LOG[7], "seq": 9},
    ]
    if paused:  # what passes until it is resumed is no worker's time
        again.insert(5, event(6, "session.updated", None, status="paused"))
        again[6:] = [{**frame, "seq": frame["seq"] + 1} for frame in again[6:]]
    shown = [*again[:4], live("message.delta", 0, "t0.0 ", message="m0"), *again[4:]]
    history[:] = [r for r in history if r["k"] in ("member", "try", "ok", "run")]
    say(
        history,
        {"k": "open", "c": "a", "user": "ada", "node": "n1"},
        {"k": "join", "c": "a", "session": S, "after": 0},
        {"k": "joined", "c": "a", "session": S, "last_seq": len(again), "replay_from": 1},
        *({"k": "in", "c": "a", "f": frame} for frame in shown),
        {"k": "log", "session": S, "items": again},
        before="run",
    )
    report = check(history)
    assert report.anomalies == {}
    assert report.ledger["turns superseded"] == 1
    assert len(report.takeovers) == (0 if paused else 1)


def test_who_answers_for_a_lost_call_may_say_what_came_of_it() -> None:
    """The answer and the result are one transaction of the worker that took the answer; anything else is a zombie's."""
    answer = [{"type": kind, "run": "r1", "epoch": 1, "writer": "n2"} for kind in ("input.resolved", "tool.returned")]
    assert not check([{"k": "audit", "items": [*AUDIT[:1], *answer]}]).anomalies
    for items in ([answer[1]], [answer[0], {**answer[1], "writer": "n3"}], [*answer, answer[1]]):
        assert check([{"k": "audit", "items": [*AUDIT[:1], *items]}]).anomalies == {"zombie-write": 1}
