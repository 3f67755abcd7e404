"""The guards of a room, one by one. Steps are taken by hand: the bus is delivered where a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from hub.domain.ids import new_id
from hub.gateway.audience import BATCH_FRAMES
from hub.gateway.follower import Follower
from hub.gateway.open_stream import MAX_HELD
from hub.gateway.open_streams import REMEMBERED_ENDS
from hub.gateway.outbox import BATCH_BYTES, SOFT_BYTES, Frame
from hub.gateway.room import EARLY_ENVELOPES, RING_FRAMES, STASH_FRAMES
from hub.relay import envelope
from tests.gateway.room_world import Client, Message, World


@asynccontextmanager
async def world(events: int = 0, *, batching: bool = False) -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as tasks:
        one = World(tasks, batching=batching)
        for _ in range(events):
            one.say()
        one.bus.clear()
        one.start()
        yield one


async def passes(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def deliver(one: World, *order: int) -> None:
    """Gives the room what is on the bus, in this order (default: as published)."""
    payloads = [one.bus[i] for i in order] if order else list(one.bus)
    one.bus.clear()
    for payload in payloads:
        one.room.receive(payload)
    await passes()


async def answer_all(one: World) -> None:
    """Everything the room and its followers ask for, until they ask no more."""
    await passes()
    while one.reads or (one.needed and not one.repairing):
        if one.reads:
            one.answer(one.reads[0], fresh=True)
        else:
            one.tasks.create_task(one.repair())
        await passes()


def kinds(client: Client) -> list[str]:
    return [frame["type"] for frame in client.frames]


# ---- durable events


async def test_events_swapped_on_their_way_are_shown_in_order_without_reading_the_log() -> None:
    async with world(3) as one:
        client = one.join(3)
        for _ in range(3):
            one.say()
        await deliver(one, 2, 1, 0, 1)
        assert client.seq == 6
        assert not one.room.needs_log


async def test_a_lost_event_is_read_from_the_log() -> None:
    async with world() as one:
        client = one.join(0)
        one.say()
        one.say()
        await deliver(one, 1)
        assert client.seq == 0
        assert one.needed
        await answer_all(one)
        assert client.seq == 2
        assert not one.room.needs_log


async def test_the_last_event_lost_is_found_by_its_position() -> None:
    async with world(2) as one:
        client = one.join(2)
        one.say()
        one.bus.clear()
        one.room.reaches(3)
        await answer_all(one)
        assert client.seq == 3


async def test_an_event_too_large_for_the_bus_is_read_from_the_log() -> None:
    async with world() as one:
        client = one.join(0)
        one.say()
        one.bus[:] = [one.tagged(b"R 1 -\n")]
        await deliver(one)
        await answer_all(one)
        assert client.seq == 1


async def test_a_reconnect_reads_the_log() -> None:
    async with world(1) as one:
        client = one.join(1)
        for _ in range(10):
            one.say()
        one.bus.clear()
        one.room.gap()
        await answer_all(one)
        assert client.seq == 11


async def test_the_stash_is_bounded_and_the_log_has_the_rest() -> None:
    async with world() as one:
        client = one.join(0)
        for _ in range(STASH_FRAMES + 50):
            one.say()
        await deliver(one, *range(1, STASH_FRAMES + 50))
        assert client.seq == 0
        assert len(one.room._stash) == STASH_FRAMES
        await answer_all(one)
        assert client.seq == STASH_FRAMES + 50


async def test_positions_the_log_does_not_have_are_forgotten() -> None:
    async with world(1) as one:
        client = one.join(1)
        for junk in (b"E 7 -\n{}", b"R 9 -\n", b"D m 3 1 8\n{}", b"nonsense", b"E 2 -\n"):
            one.room.receive(one.tagged(junk))
        assert one.room.rejected == 2
        await answer_all(one)
        assert not one.room.needs_log
        for _ in range(9):
            one.say()
        await deliver(one)
        assert client.seq == 10


async def test_junk_that_waited_is_ignored_too() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(3):
            one.write(message)
        held = one.tagged(f"D {message.id} 2 1 0\n{{}}".encode())
        early = one.tagged(f"D {new_id()} 0 1 1\n{{}}".encode())
        one.room.receive(one.bus.pop(0))
        one.room.receive(held)
        one.room.receive(early)
        one.say()
        await deliver(one)
        await answer_all(one)
        assert one.room.rejected == 2
        assert client.seq == 1
        assert client.texts[message.id] == message.text(3)


async def test_deltas_of_a_future_that_is_none_do_not_keep_the_place_of_others() -> None:
    async with world() as one:
        client = one.join(0)
        for _ in range(EARLY_ENVELOPES):
            one.room.receive(one.tagged(b"D m 3 1 8\n{}"))
        await answer_all(one)
        one.say()
        one.write(one.open())
        await deliver(one, 1, 0)
        assert kinds(client) == ["message.redacted", "message.delta"]


async def test_frames_that_are_none_are_ignored() -> None:
    async with world(1) as one:
        client = one.join(1)
        one.room.receive(one.tagged(b"S m 1 1 1\n{}"))
        one.room.receive(one.tagged(b"D m 0 1 1\n{}"))
        one.room.receive(one.tagged(b'S m 1 1 1\n{"data":3}'))
        assert one.room.rejected == 3
        await passes()
        assert client.frames == []
        message = one.open()
        one.write(message)
        await deliver(one)
        assert client.texts[message.id] == message.text(1)


# ---- joining


async def test_a_replay_from_the_ring_needs_no_log() -> None:
    async with world() as one:
        for _ in range(20):
            one.say()
        await deliver(one)
        client = one.join(5)
        await passes()
        assert client.seq == 20
        assert one.reads == []


async def test_a_replay_beyond_the_ring_reads_page_by_page() -> None:
    async with world(10) as one:
        client = one.join(0)
        await answer_all(one)
        assert client.seq == 10


async def test_the_ring_is_bounded() -> None:
    async with world() as one:
        for _ in range(RING_FRAMES + 1):
            one.say()
        await deliver(one)
        assert one.room.recent(0) is None
        assert len(one.room.recent(1) or ()) == RING_FRAMES


async def test_nothing_is_lost_or_doubled_between_the_replay_and_live() -> None:
    async with world(5) as one:
        for late in range(6):
            client = one.join(0)
            await passes()
            one.answer(one.reads[0], fresh=False)
            for _ in range(late):
                await asyncio.sleep(0)
            one.say()
            one.room.receive(one.bus.pop())
            await answer_all(one)
            assert client.seq == len(one.log)


async def test_nothing_is_shown_between_the_ring_and_the_attach() -> None:
    async with world() as one:
        for _ in range(5):
            one.say()
        await deliver(one)
        for late in range(6):
            client = one.join(0)
            for _ in range(late):
                await asyncio.sleep(0)
            one.say()
            one.room.receive(one.bus.pop())
            await passes()
            assert client.seq == len(one.log)


async def test_a_replay_that_reads_ahead_of_the_room_takes_the_room_along() -> None:
    async with world(4) as one:
        first = one.join(4)
        for _ in range(2):
            one.say()
        held = list(one.bus)
        one.bus.clear()
        second = one.join(3)
        await answer_all(one)
        assert (first.seq, second.seq) == (6, 6)
        for payload in held:
            one.room.receive(payload)
        await passes()
        assert (first.seq, second.seq) == (6, 6)


async def test_a_replay_waits_for_a_slow_reader() -> None:
    async with world(2_000) as one:
        client = one.join(0)
        client.reading = False
        for _ in range(1_000):
            await passes(3)
            if not one.reads:
                break
            one.answer(one.reads[0], fresh=True)
        assert SOFT_BYTES < client.outbox.pending_bytes < 2 * SOFT_BYTES
        assert not client.overflowed
        client.reading = True
        client.outbox.resume()
        await answer_all(one)
        assert client.seq == 2_000


async def test_a_replay_waits_within_a_page_of_large_events() -> None:
    async with world() as one:
        for _ in range(6):
            one.say(size=600_000)
        one.bus.clear()
        one.room.reaches(6)
        await answer_all(one)
        client = one.join(0)
        client.reading = False
        await answer_all(one)
        assert not client.overflowed
        for _ in range(6):
            client.reading = True
            client.outbox.resume()
            client.reading = False
            await answer_all(one)
        assert client.seq == 6


async def test_leaving_in_the_middle_of_a_replay_ends_it() -> None:
    async with world(10) as one:
        client = one.join(0)
        await passes()
        one.leave(client)
        await answer_all(one)
        assert one.reads == []
        one.say()
        await deliver(one)
        assert client.frames == []


async def test_a_follower_closed_before_its_start_gets_nothing() -> None:
    async with world(1) as one:
        client = one.join(1)
        assert client.follower is not None
        client.follower.close()
        client.follower.start()
        one.say()
        await deliver(one)
        assert client.frames == []


async def test_one_that_overflows_while_it_is_served_does_not_disturb_the_others() -> None:
    async with world() as one:
        slow, quick = one.join(0, max_bytes=SOFT_BYTES + 50_000), one.join(0)
        slow.reading = False
        one.say()
        await deliver(one)
        slow.outbox.put(Frame(b"x" * (SOFT_BYTES + 1)))
        one.room.receive(one.tagged(b'L\n{"type":"agent.status","data":{"agent":"' + b"x" * 60_000 + b'"}}'))
        assert slow.overflowed
        assert slow.outbox.closed
        one.say()
        await deliver(one)
        assert quick.seq == 2


# ---- open messages


async def test_who_joins_in_the_middle_of_a_message_gets_its_text_then_the_rest() -> None:
    async with world(1) as one:
        message = one.open()
        for _ in range(200):
            one.write(message)
        await deliver(one)
        client = one.join(0)
        await answer_all(one)
        one.write(message)
        await deliver(one)
        assert kinds(client) == ["message.redacted", "message.snapshot", "message.delta"]
        assert client.texts[message.id] == message.text(201)


async def test_a_room_that_opens_in_the_middle_of_a_message_knows_its_text() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = World(tasks)
        message = one.open()
        one.write(message)
        one.write(message)
        one.room.receive(one.bus[1])
        one.start()
        client = one.join(0)
        one.write(message)
        await deliver(one)
        assert client.texts[message.id] == message.text(3)


async def test_what_comes_while_the_room_opens_is_not_lost() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = World(tasks)
        one.say()
        one.bus.clear()
        message = one.open()
        one.say()
        one.write(message)
        held = list(one.bus)
        for payload in held:
            one.room.receive(payload)
        one.room.start(1, [])
        assert one.room.last_seq == 2
        client = one.join(0)
        await answer_all(one)
        assert client.texts[message.id] == message.text(1)


async def test_more_than_a_room_can_hold_while_it_opens_is_asked_for() -> None:
    async with asyncio.TaskGroup() as tasks:
        one = World(tasks)
        message = one.open()
        for _ in range(EARLY_ENVELOPES + 10):
            one.write(message)
        for payload in one.bus:
            one.room.receive(payload)
        one.bus.clear()
        one.room.start(0, [])
        client = one.join(0)
        await answer_all(one)
        assert client.texts[message.id] == message.text(EARLY_ENVELOPES + 10)


async def test_a_lost_delta_is_made_good_by_one_snapshot_for_all() -> None:
    async with world() as one:
        clients = [one.join(0), one.join(0)]
        message = one.open()
        for _ in range(5):
            one.write(message)
        await deliver(one, 0, 1, 3, 4)
        assert all(client.shown[message.id] == 2 for client in clients)
        one.write(message)
        await answer_all(one)
        await deliver(one)
        for client in clients:
            assert client.texts[message.id] == message.text(6)
            assert kinds(client).count("message.snapshot") == 1


async def test_a_reconnect_brings_the_text_that_was_lost_even_when_no_more_follows() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(5):
            one.write(message)
        await deliver(one, 0)
        one.room.gap()
        await answer_all(one)
        assert client.texts[message.id] == message.text(5)


async def test_deltas_swapped_on_their_way_need_no_snapshot() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(4):
            one.write(message)
        await deliver(one, 0, 2, 1, 1, 3)
        assert client.texts[message.id] == message.text(4)
        assert kinds(client) == ["message.delta"] * 4


async def test_deltas_held_behind_a_missing_one_follow_the_snapshot() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(4):
            one.write(message)
        held = one.bus[3]
        (kept,) = one.snapshots()
        one.room.receive(one.bus[0])
        one.room.receive(held)
        one.room.restore([replace(kept, text=message.text(3), index=3)])
        await passes()
        assert client.texts[message.id] == message.text(4)


async def test_too_many_deltas_behind_a_missing_one_are_given_up() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(MAX_HELD + 3):
            one.write(message)
        await deliver(one, *range(1, MAX_HELD + 3))
        await answer_all(one)
        assert client.texts[message.id] == message.text(MAX_HELD + 3)


async def test_a_snapshot_is_shown_only_to_rooms_that_miss_something() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        one.write(message)
        one.kept.clear()
        one.write(message)
        await deliver(one, 0, 1, 1)
        assert kinds(client) == ["message.delta", "message.snapshot"]
        one.room.restore(one.snapshots())
        await passes()
        assert len(client.frames) == 2


async def test_a_snapshot_too_large_for_the_bus_is_read_in_redis() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        for _ in range(3):
            one.write(message)
        one.bus[:] = [one.bus[0], one.tagged(f"S {message.id} 3 1 0\n".encode())]
        await deliver(one)
        await answer_all(one)
        assert client.texts[message.id] == message.text(3)


async def test_nothing_of_a_message_is_shown_after_its_end() -> None:
    async with world() as one:
        client = one.join(0)
        message = one.open()
        one.write(message)
        one.write(message)
        one.complete(message)
        await deliver(one, 0, 2, 1, 0)
        one.room.restore(one.snapshots())
        late = one.join(1)
        await answer_all(one)
        assert kinds(client) == ["message.delta", "message.completed"]
        assert kinds(late) == []


async def test_a_run_that_ended_takes_its_open_messages_along() -> None:
    async with world() as one:
        client = one.join(0)
        seen, unseen = one.open(), one.open()
        one.write(seen)
        one.write(unseen)
        one.finish()
        await deliver(one, 0, 2, 1, 0)
        one.room.restore(one.snapshots())
        late = one.join(1)
        again = one.open()
        one.write(again)
        await deliver(one)
        assert kinds(client) == ["message.delta", "run.finished", "message.delta"]
        assert kinds(late) == ["message.delta"]


async def test_a_message_begun_after_a_run_ended_stays_when_the_news_comes_late() -> None:
    async with world() as one:
        client = one.join(0)
        one.finish()
        message = one.open()
        one.write(message)
        await deliver(one, 1, 0)
        one.write(message)
        await deliver(one)
        assert kinds(client) == ["run.finished", "message.delta", "message.delta"]


async def test_a_delta_waits_for_the_events_before_it() -> None:
    async with world() as one:
        client = one.join(0)
        one.say()
        message = one.open()
        one.write(message)
        await deliver(one, 1)
        assert client.frames == []
        await answer_all(one)
        assert kinds(client) == ["message.redacted", "message.delta"]


async def test_a_snapshot_from_redis_waits_for_the_events_before_it() -> None:
    async with world() as one:
        client = one.join(0)
        one.say()
        one.write(one.open())
        one.bus.clear()
        one.room.restore(one.snapshots())
        await passes()
        assert client.frames == []
        await answer_all(one)
        assert kinds(client) == ["message.redacted", "message.snapshot"]


# ---- what comes together


async def test_deltas_that_come_together_are_one_frame_made_once_for_everybody() -> None:
    async with world(1, batching=True) as one:
        clients = [one.join(1), one.join(1)]
        message = one.open()
        for _ in range(9):  # the first one is looked at in earnest, and tells what the others are like
            one.write(message)
        await deliver(one)
        assert [len(client.frames) for client in clients] == [1, 1]
        one.room.pass_on()
        first, second = (client.wire for client in clients)
        assert len(first) == 2
        assert first[1] is second[1]
        assert [client.texts[message.id] for client in clients] == [message.text(9)] * 2


async def test_what_comes_between_deltas_stays_between_them() -> None:
    async with world(1, batching=True) as one:
        client = one.join(1)
        message = one.open()
        for _ in range(3):
            one.write(message)
        one.say()
        one.write(message)
        await deliver(one)
        one.room.pass_on()
        assert kinds(client) == [*["message.delta"] * 3, "message.redacted", "message.delta"]


async def test_who_joins_between_deltas_gets_each_of_them_once() -> None:
    async with world(1, batching=True) as one:
        early = one.join(1)
        message = one.open()
        for _ in range(3):
            one.write(message)
        await deliver(one)
        late = one.join(1)
        one.write(message)
        await deliver(one)
        one.room.pass_on()
        await passes()
        assert kinds(late) == ["message.snapshot", "message.delta"]
        assert early.texts == late.texts == {message.id: message.text(4)}


async def test_one_that_lags_gets_the_deltas_of_a_batch_merged() -> None:
    async with world(1, batching=True) as one:
        slow, fast = one.join(1), one.join(1)
        slow.reading = False
        message = one.open()
        for _ in range(8):
            one.write(message)
        await deliver(one)
        one.room.pass_on()
        slow.reading = True
        slow.outbox.resume()
        assert [len(client.frames) for client in (slow, fast)] == [2, 8]
        assert slow.texts == fast.texts == {message.id: message.text(8)}


async def test_what_comes_of_several_sessions_is_one_frame_for_one_that_follows_them_all() -> None:
    async with world(1, batching=True) as one, world(1, batching=True) as other:
        client = one.join(1)
        follower = Follower(
            other.room, client.outbox, 1, read_page=other.read_page, tasks=other.tasks, on_close=lambda: None
        )
        follower.start()

        async def tokens() -> None:
            for each in (one, other):
                each.write(next(iter(each.messages.values()), None) or each.open())
                each.room.receive(each.bus.pop())
            for each in (one, other):
                each.room.pass_on()
            await passes()

        client._take = lambda frame: None  # type: ignore[method-assign] # it knows one session only
        for _ in range(3):
            await tokens()
        assert [frame.count(b"message.delta") for frame in client.wire] == [2, 2, 2]
        follower.close()
        await tokens()
        assert [frame.count(b"message.delta") for frame in client.wire[3:]] == [1]


async def test_a_batch_is_bounded() -> None:
    async with world(1, batching=True) as one:
        client = one.join(1)
        message = one.open()
        one.write(message)  # looked at in earnest
        await deliver(one)
        assert len(client.frames) == 1
        for _ in range(BATCH_FRAMES + 2):
            one.write(message)
        await deliver(one)
        assert len(client.frames) == 1 + BATCH_FRAMES
        one.room.pass_on()
        assert client.texts == {message.id: message.text(1 + BATCH_FRAMES + 2)}


async def test_long_pieces_are_not_one_frame() -> None:
    async with world(1, batching=True) as one:
        client = one.join(1)
        message = one.open()
        for _ in range(4):
            one.write(message, 40_000)
        await deliver(one)
        one.room.pass_on()
        await passes()
        assert client.texts == {message.id: message.text(4)}
        assert all(len(frame) < BATCH_BYTES for frame in client.wire)


async def test_a_frame_that_is_none_is_not_passed_on_although_it_is_the_next() -> None:
    async with world(1, batching=True) as one:
        client = one.join(1)
        message = one.open()
        one.write(message)
        one.write(message)
        await deliver(one)
        one.write(message)
        payload = one.bus.pop()
        for junk in (payload[:-1], payload.replace(b',"text":"', b',"text" "'), payload.partition(b"{")[0] + b"{}"):
            one.room.receive(junk)
        one.room.pass_on()
        assert len(client.frames) == 2
        assert one.room.rejected == 3


async def test_ended_messages_are_remembered_in_bounds() -> None:
    async with world() as one:
        one.join(0)
        for _ in range(REMEMBERED_ENDS + 5):
            one.complete(one.open())
        await deliver(one)
        assert len(one.room._streams._ended) == REMEMBERED_ENDS


async def test_live_events_go_to_whoever_follows() -> None:
    async with world() as one:
        outside, inside = one.join(0), one.join(0)
        one.leave(outside)
        one.room.receive(one.tagged(b'L\n{"type":"agent.status","data":{}}'))
        await passes()
        assert kinds(inside) == ["agent.status"]
        assert outside.frames == []


async def test_what_belongs_to_another_session_is_shown_to_nobody_here(caplog: pytest.LogCaptureFixture) -> None:
    async with world(1) as here, world(1) as other:
        client = here.join(1)
        message = here.open()
        here.write(message)
        await deliver(here)
        # The very next token of the same message, but of the other session: also the short way looks.
        foreign = Message(message.id, message.seq, ["0 "])
        other.messages[foreign.id] = foreign
        other.kept[foreign.id] = 1
        other.write(foreign)
        other.say()
        other.bus += [envelope.live(other.session, b'{"type":"agent.status","data":{"secret":1}}')]
        seen = len(client.frames)
        for payload in other.bus:
            here.room.receive(payload)
        await passes()
        assert len(client.frames) == seen
        assert (here.room.misrouted, here.room.rejected) == (3, 0)
        assert not here.needed
        assert [(record.levelname, "secret" in record.getMessage()) for record in caplog.records] == [("ERROR", False)]
        here.write(message)
        await deliver(here)
        assert client.texts[message.id] == message.text(2)
