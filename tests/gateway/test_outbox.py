"""The outbox: what goes out, in which pieces, and what does not fit."""

import asyncio
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.ids import RunId, SessionId
from hub.gateway.outbox import BATCH_BYTES, MAX_ITEMS, SOFT_BYTES, Frame, Outbox
from hub.protocol.frames import DeltaFrames
from tests.gateway.room_world import payload_of

MAX_BYTES = 1_000_000


class Way:
    """A transport that takes `room` batches, then no more until `open` is called."""

    def __init__(self, room: int = 1_000_000, max_bytes: int = MAX_BYTES) -> None:
        self.room = room
        self.batches: list[bytes] = []
        self.overflows = 0
        self.outbox = Outbox(self, self.overflow, max_bytes=max_bytes)

    def write(self, frame: bytes) -> None:
        assert self.room > 0, "written although the transport said no"
        self.room -= 1
        self.batches.append(payload_of(frame))
        if self.room == 0:
            self.outbox.hold()

    def overflow(self) -> None:
        self.overflows += 1

    def open(self, room: int = 1_000_000) -> None:
        self.room = room
        self.outbox.resume()

    def block(self) -> None:
        """Use up the room."""
        self.room = 1
        self.outbox.put(Frame(b"{}"))
        self.outbox.flush()
        self.batches.clear()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for batch in self.batches for line in batch.split(b"\n")]


def delta(message: str, index: int, text: str, n: int = 1) -> Frame:
    data = DeltaFrames(SessionId("s"), RunId("r"), message, 0, "alpha", "Alpha").delta(index, text)
    if n > 1:
        data = data[:-2] + b',"n":%d}}' % n
    return Frame(data, message, index, n)


def plain(number: int, size: int = 0) -> Frame:
    return Frame(b'{"seq":%d,"pad":"%b"}' % (number, b"x" * size))


async def passes(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_put_in_one_pass_of_the_loop_goes_out_as_one_batch() -> None:
    way = Way()
    for number in range(3):
        way.outbox.put(plain(number))
    assert way.batches == []
    await passes()
    assert way.batches == [b"\n".join(plain(n).data for n in range(3))]
    assert way.outbox.pending_bytes == 0


async def test_a_large_amount_goes_out_at_once_in_batches_under_the_bound() -> None:
    way = Way()
    for number in range(100):
        way.outbox.put(plain(number, 10_000))
    way.outbox.flush()
    assert [o["seq"] for o in way.objects] == list(range(100))
    assert all(len(batch) < BATCH_BYTES for batch in way.batches)
    assert len(way.batches) == 17  # of six


async def test_one_object_over_the_bound_is_a_batch_of_its_own() -> None:
    way = Way()
    way.outbox.put(plain(1))
    way.outbox.put(plain(2, BATCH_BYTES))
    way.outbox.put(plain(3))
    await passes()
    assert [o["seq"] for o in way.objects] == [1, 2, 3]


async def test_deltas_stay_apart_as_long_as_the_peer_keeps_up() -> None:
    way = Way()
    for index in range(3):
        way.outbox.put(delta("m", index, f"t{index} "))
    await passes()
    assert [o["data"]["index"] for o in way.objects] == [0, 1, 2]
    assert all("n" not in o["data"] for o in way.objects)


async def test_adjacent_deltas_merge_when_the_peer_lags() -> None:
    way = Way()
    way.block()
    texts = ['say "hi"', 'a","n":5}}', "\\", "\n", "é漢😀", ""]
    for index, text in enumerate(texts):
        way.outbox.put(delta("m", index, text))
    way.open()
    (merged,) = way.objects
    assert merged["data"]["text"] == "".join(texts)
    assert (merged["data"]["index"], merged["data"]["n"]) == (0, len(texts))
    assert merged["type"] == "message.delta"
    assert merged["data"]["author"]["name"] == "alpha"


async def test_merged_deltas_that_hold_several_pieces_already_are_counted() -> None:
    way = Way()
    way.block()
    way.outbox.put(delta("m", 4, "abc", n=3))
    way.outbox.put(delta("m", 7, "d"))
    way.outbox.put(delta("m", 8, "ef", n=2))
    way.open()
    (merged,) = way.objects
    assert (merged["data"]["index"], merged["data"]["n"], merged["data"]["text"]) == (4, 6, "abcdef")


async def test_interleaved_messages_merge_each_by_itself() -> None:
    way = Way()
    way.block()
    for index in range(10):
        way.outbox.put(delta("a", index, "a"))
        way.outbox.put(delta("b", index, "b"))
    way.open()
    assert [(o["data"]["message"], o["data"]["n"]) for o in way.objects] == [("a", 10), ("b", 10)]


async def test_nothing_merges_over_another_frame_or_a_hole() -> None:
    way = Way()
    way.block()
    way.outbox.put(delta("m", 0, "a"))
    way.outbox.put(plain(1))  # could be a snapshot of m
    way.outbox.put(delta("m", 1, "b"))
    way.outbox.put(delta("m", 3, "d"))
    way.open()
    assert [o["data"]["text"] if "data" in o else o["seq"] for o in way.objects] == ["a", 1, "b", "d"]


async def test_nothing_merges_into_what_was_written_already() -> None:
    way = Way()
    way.block()
    way.outbox.put(delta("a", 0, "a" * 60_000))
    way.outbox.put(delta("b", 0, "b" * 60_000))
    way.open(room=1)
    way.outbox.put(delta("a", 1, "more"))
    way.open()
    assert [o["data"]["text"][:4] for o in way.objects] == ["aaaa", "bbbb", "more"]


async def test_shared_frames_are_not_changed_by_merging() -> None:
    slow, fast = Way(), Way()
    slow.block()
    frames = [delta("m", index, str(index)) for index in range(5)]
    before = [f.data for f in frames]
    for f in frames:
        slow.outbox.put(f)
        fast.outbox.put(f)
    slow.open()
    await passes()
    assert [f.data for f in frames] == before
    assert len(slow.objects) == 1
    assert len(fast.objects) == 5


async def test_a_peer_that_lags_too_far_overflows_once_and_gets_nothing_more() -> None:
    way = Way()
    way.block()
    for number in range(200):
        way.outbox.put(plain(number, 10_000))
    assert way.overflows == 1
    assert way.outbox.closed
    assert way.outbox.pending_bytes == 0
    way.open()
    assert way.batches == []


async def test_many_small_frames_overflow_too() -> None:
    way = Way()
    way.block()
    for number in range(MAX_ITEMS + 1):
        way.outbox.put(plain(number))
    assert way.overflows == 1


async def test_merging_keeps_a_long_message_within_the_bounds() -> None:
    way = Way(max_bytes=300_000)
    way.block()
    for index in range(50_000):
        way.outbox.put(delta("m", index, "word "))
    assert way.overflows == 0
    way.open()
    (merged,) = way.objects
    assert merged["data"]["n"] == 50_000


async def test_what_waits_takes_the_memory_that_is_counted() -> None:
    way = Way()
    way.block()
    tracemalloc.start()
    try:
        for index in range(10_000):
            way.outbox.put(delta("m", index, "word "))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1.5 * way.outbox.pending_bytes


async def test_one_frame_larger_than_the_bound_may_pass() -> None:
    way = Way()
    way.block()
    way.outbox.put(plain(1, 2 * MAX_BYTES))  # no client could ever get by it otherwise
    overflows = [way.overflows]
    way.outbox.put(plain(2))
    assert [*overflows, way.overflows] == [0, 1]


async def test_room_waits_for_the_soft_bound() -> None:
    way = Way()
    way.block()
    await asyncio.wait_for(way.outbox.space(), 30)
    while way.outbox.pending_bytes <= SOFT_BYTES:
        way.outbox.put(plain(0, 10_000))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(way.outbox.space())
        await passes()
        assert not waiting.done()
        way.open(room=1)
        await passes()
    assert way.outbox.pending_bytes <= SOFT_BYTES


async def test_room_ends_when_the_outbox_is_closed() -> None:
    way = Way()
    way.block()
    while way.outbox.pending_bytes <= SOFT_BYTES:
        way.outbox.put(plain(0, 10_000))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(way.outbox.space())
        await passes()
        way.outbox.close()
    way.outbox.put(plain(1))
    way.outbox.flush()
    assert way.batches == []


@pytest.mark.parametrize("text", ["", '"', "\\", '\\"', ',"text":"', '","n":3}}', '"}}', "\u2028", "\x00"])
async def test_no_text_confuses_the_merging(text: str) -> None:
    way = Way()
    way.block()
    way.outbox.put(delta("m", 0, text))
    way.outbox.put(delta("m", 1, text, n=2))
    way.outbox.put(delta("m", 3, text))
    way.open()
    (merged,) = way.objects
    assert (merged["data"]["text"], merged["data"]["n"]) == (text * 3, 4)


_Step = tuple[str, int]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("delta"), st.integers(0, 2)),
        st.tuples(st.just("plain"), st.integers(0, 3_000)),
        st.tuples(st.just("open"), st.integers(1, 3)),
        st.tuples(st.just("flush"), st.just(0)),
    ),
    max_size=60,
)


@given(_STEPS)
async def test_a_slow_peer_sees_every_event_once_in_order_and_every_text_whole(steps: list[_Step]) -> None:
    way = Way(room=1)
    next_index = [0, 0, 0]
    expected: list[list[str]] = [[], [], []]
    numbers = 0
    for kind, value in steps:
        match kind:
            case "delta":
                text = f"<{value}.{next_index[value]}>"
                way.outbox.put(delta(str(value), next_index[value], text))
                expected[value].append(text)
                next_index[value] += 1
            case "plain":
                way.outbox.put(plain(numbers, value))
                numbers += 1
            case "open":
                way.open(value)
            case _:
                way.outbox.flush()
    way.open()
    seen: list[list[str]] = [[], [], []]
    position = [0, 0, 0]
    for o in way.objects:
        if "seq" not in o:
            data = o["data"]
            message = int(data["message"])
            assert data["index"] == position[message]
            position[message] += data.get("n", 1)
            seen[message].append(data["text"])
    assert [o["seq"] for o in way.objects if "seq" in o] == list(range(numbers))
    assert ["".join(texts) for texts in seen] == ["".join(texts) for texts in expected]
    assert position == next_index
