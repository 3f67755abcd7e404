"""Open messages from a run to the rooms: order, fence, what Redis keeps, and what happens when Redis loses it."""

import asyncio
import json
from functools import partial

import pytest

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId, new_id
from hub.domain.run import Lease
from hub.protocol.events import MessageDelta, MessageSnapshot, ReasoningDelta
from hub.protocol.frames import parse_server_frame
from hub.protocol.pieces import AgentAuthor
from hub.relay import envelope, keys
from hub.relay.deltas import MAX_PIECES
from hub.relay.envelope import Envelope, Kind
from hub.relay.fence import PER_COMMAND
from hub.relay.message_stream import MAX_PIECE, MAX_UNSENT, MessageStream
from tests.relay.wiring import (
    Ear,
    Relay,
    ask,
    ear,
    eventually,
    eventually_so,
    new_lease,
    new_session,
    own_valkey,
    relay,
)

ALPHA = AgentAuthor(name="alpha", display_name="Alpha")


def text_of(item: Envelope) -> str:
    return str(json.loads(item.frame)["data"]["text"])


def assembled(heard: list[Envelope]) -> str:
    """The text as a client puts it together; fails on a gap."""
    text, following = "", 0
    for item in heard:
        if item.kind is Kind.SNAPSHOT:
            if item.index > following:
                text, following = text_of(item), item.index
        elif item.kind is Kind.DELTA and item.index >= following:
            assert item.index == following
            text, following = text + text_of(item), item.index + item.n
    return text


async def fenced(one: Relay, session: SessionId, epoch: int = 1) -> Lease:
    assert await one.fence.raise_to(session, epoch)
    return new_lease(session, epoch)


def begin(one: Relay, lease: Lease, seq: int = 3) -> MessageStream:
    return one.deltas.open(lease, new_id(), turn=0, author=ALPHA, seq=seq)


def says(listener: Ear, text: str) -> bool:
    return assembled(listener.heard) == text


async def scripts_run(url: str) -> int:
    stats = await ask(url, "INFO", "commandstats")
    return int(stats["cmdstat_evalsha"]["calls"]) if isinstance(stats, dict) else 0


async def nothing_open(one: Relay, session: SessionId) -> bool:
    return not await one.open_messages.snapshots(session)


async def test_every_token_arrives_once_in_order_and_is_kept_for_late_joiners(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        words = [f"t0.{i} " for i in range(200)]
        for word in words:
            stream.add(word)
            await asyncio.sleep(0)
        assert await stream.drain(30)
        await eventually(lambda: assembled(listener.heard) == "".join(words))
        assert len(listener.heard) == stream.index < 200
        (kept,) = await one.open_messages.snapshots(session)
        assert (kept.message, kept.text, kept.index, kept.author) == (
            stream.message,
            "".join(words),
            stream.index,
            ALPHA,
        )
        assert (kept.run, kept.turn, kept.seq) == (stream.lease.run, 0, 3)
        assert int(str(await ask(redis_url, "TTL", keys.open_messages(session)))) > 0


async def test_the_first_token_of_an_idle_worker_leaves_at_once(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        warm, stream = begin(one, await fenced(one, new_session())), begin(one, await fenced(one, session))
        warm.add("warm")
        assert await warm.drain(30)
        one.pipeline._flushed_at = 0.0  # nothing has left lately
        flushes = one.pipeline.flushes
        stream.add("t0.0 ")
        await asyncio.sleep(0)
        stream.add("t0.1 ")
        assert one.pipeline.flushes == flushes + 1
        assert await stream.drain(30)
        await eventually(lambda: len(listener.heard) == 2)
        assert text_of(listener.heard[0]) == "t0.0 "


async def test_the_frames_are_those_of_the_protocol(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        stream.add_reasoning("hm")
        assert await stream.drain(30)
        stream.add("yes")
        assert await stream.drain(30)
        await eventually(lambda: len(listener.heard) == 2)
        thought, said = (parse_server_frame(item.frame) for item in listener.heard)
        assert isinstance(thought, ReasoningDelta)
        assert isinstance(said, MessageDelta)
        assert (thought.data.text, thought.data.index, said.data.text, said.data.index) == ("hm", 0, "yes", 0)
        assert said.session == session
        assert listener.heard[1].seq == 3


async def test_whatever_an_agent_is_called_its_frames_are_whole(redis_url: str) -> None:
    """What is the same in every delta is put into a format once."""
    who = AgentAuthor(name="alpha", display_name='100 %b "sure" %% %(x)d 🎉')
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = one.deltas.open(await fenced(one, session), new_id(), turn=0, author=who, seq=3)
        for text in ("50 % of ", "%d", '"\\'):
            stream.add(text)
            assert await stream.drain(30)
        await eventually(lambda: len(listener.heard) == 3)
        frames = [parse_server_frame(item.frame) for item in listener.heard]
        assert all(isinstance(frame, MessageDelta) and frame.data.author == who for frame in frames)
        assert assembled(listener.heard) == '50 % of %d"\\'


async def test_thoughts_and_words_that_wait_together_leave_in_their_order(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        stream.add("first ")
        assert await stream.drain(30)
        # All of it before anything can leave: neighbours of one kind join, and what is too long is cut.
        long = "y" * (MAX_PIECE + 1)
        stream.add_reasoning("hm ")
        stream.add_reasoning("well ")
        stream.add("second ")
        stream.add("third ")
        stream.add_reasoning("so ")
        stream.add(long)
        stream.add_reasoning("done ")
        stream.add("z")
        assert await stream.drain(30)
        await eventually(lambda: len(listener.heard) == 8)
        frames = [parse_server_frame(item.frame) for item in listener.heard[1:]]
        assert [type(frame) for frame in frames] == [
            ReasoningDelta,
            MessageDelta,
            ReasoningDelta,
            MessageDelta,
            MessageDelta,
            ReasoningDelta,
            MessageDelta,
        ]
        said = [text_of(item) for item in listener.heard[1:]]
        assert said == ["hm well ", "second third ", "so ", "y" * MAX_PIECE, "y", "done ", "z"]


async def test_many_streams_share_writes(redis_url: str) -> None:
    async with relay(redis_url) as one:
        streams = [begin(one, await fenced(one, new_session())) for _ in range(40)]
        for stream in streams:
            stream.add("warm ")
        await asyncio.gather(*(stream.drain(30) for stream in streams))
        flushes = one.pipeline.flushes
        for stream in streams:
            stream.add("x")
        await asyncio.gather(*(stream.drain(30) for stream in streams))
        assert one.pipeline.flushes == flushes + 1


async def test_many_streams_share_a_command_and_answer_for_themselves(redis_url: str) -> None:
    async with relay(redis_url) as one:
        sessions = [new_session() for _ in range(2 * MAX_PIECES)]
        listeners = [await ear(one, session) for session in sessions]
        streams = [begin(one, await fenced(one, session, 5)) for session in sessions]
        for stream in streams:
            stream.add("one ")
        await asyncio.gather(*(stream.drain(30) for stream in streams))
        stale, lost, broken, unfenced = streams[:4]
        assert await one.fence.raise_to(stale.lease.session, 6)
        await ask(redis_url, "DEL", keys.text_prefix(lost.lease.session) + lost.message.encode())
        await ask(redis_url, "DEL", keys.text_prefix(broken.lease.session) + broken.message.encode())
        await ask(redis_url, "SADD", keys.text_prefix(broken.lease.session) + broken.message.encode(), "not a string")
        await ask(redis_url, "DEL", keys.fence(unfenced.lease.session))
        before = await scripts_run(redis_url)
        for stream in streams:
            stream.add("two")
        drained = await asyncio.gather(*(stream.drain(30) for stream in streams))
        assert drained == [False, *[True] * (len(streams) - 1)]
        assert await scripts_run(redis_url) - before <= 2 + 8  # two for all, then what had to be made good
        assert stale.refused
        assert unfenced.lease in one.refenced
        for listener, stream in zip(listeners[1:], streams[1:], strict=True):
            await eventually(partial(says, listener, "one two"))
            (kept,) = await one.open_messages.snapshots(stream.lease.session)
            assert (kept.text, kept.index) == ("one two", stream.index)
        assert assembled(listeners[0].heard) == "one "


async def test_a_durable_event_never_overtakes_the_deltas_before_it(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        lease = await fenced(one, session)
        for number in range(30):
            stream = begin(one, lease)
            stream.add("one ")
            stream.add("two")
            assert await stream.drain(30)
            one.publisher.publish(session, f"{session} E {number + 1} -\n{{}}".encode())
            stream.close()
        await eventually(lambda: sum(item.kind is Kind.DURABLE for item in listener.heard) == 30)
        assert listener.heard[-1].kind is Kind.DURABLE
        assert await one.open_messages.snapshots(session) == []


async def test_an_old_epoch_is_refused(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session, 5))
        stream.add("before ")
        assert await stream.drain(30)
        assert await one.fence.raise_to(session, 6)
        assert not await one.fence.raise_to(session, 5)
        stream.add("after")
        stream.add_reasoning("after")
        assert not await stream.drain(5)
        assert stream.refused
        stream.add("and more")
        await stream.space()
        await eventually(lambda: len(listener.heard) == 1)
        assert [kept.text for kept in await one.open_messages.snapshots(session)] == ["before "]


async def test_many_fences_are_raised_at_once_and_newer_ones_stay(redis_url: str) -> None:
    async with relay(redis_url) as one:
        sessions = [new_session() for _ in range(PER_COMMAND + 2)]
        assert await one.fence.raise_to(sessions[1], 7)
        held = await one.fence.raise_all([(session, 6) for session in sessions])
        assert [number for number, holds in enumerate(held) if not holds] == [1]
        assert await one.fence.raise_all([(sessions[1], 7), (sessions[-1], 5)]) == [True, False]
        assert await one.fence.raise_all([]) == []


async def test_a_refused_stream_leaves_what_its_successor_keeps(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        stream = begin(one, await fenced(one, session, 5))
        stream.add("x")
        assert await stream.drain(30)
        assert await one.fence.raise_to(session, 6)
        stream.add("y")
        assert not await stream.drain(5)
        stream.close()
        assert len(await one.open_messages.snapshots(session)) == 1
        one.deltas.close(session, [stream.message])
        one.deltas.close(session, [])
        await eventually_so(lambda: nothing_open(one, session))


async def test_reasoning_of_an_old_epoch_is_refused_too(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        lease = await fenced(one, session, 5)
        assert await one.fence.raise_to(session, 6)
        stream = begin(one, lease)
        stream.add_reasoning("stale")
        assert not await stream.drain(5)
        assert listener.heard == []


async def test_a_missing_fence_is_restored_by_who_holds_the_lease(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        lease = new_lease(session)
        first, second = begin(one, lease), begin(one, lease)
        first.add("a")
        second.add_reasoning("b")
        assert await first.drain(30)
        assert await second.drain(30)
        assert one.refenced == [lease]
        await eventually(lambda: len(listener.heard) == 2)


async def test_a_lease_that_cannot_be_checked_is_asked_for_again(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        one.refence_fails = 1
        stream = begin(one, new_lease(session))
        stream.add("a")
        assert await stream.drain(30)
        assert len(one.refenced) == 2
        await eventually(lambda: assembled(listener.heard) == "a")


async def test_a_missing_fence_refuses_who_has_lost_the_lease(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        one.holds_lease = False
        stream = begin(one, new_lease(session))
        stream.add("a")
        assert not await stream.drain(5)
        assert stream.refused
        assert listener.heard == []
        assert await one.open_messages.snapshots(session) == []


async def test_what_redis_has_forgotten_is_made_good_by_one_snapshot(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        for word in ("one ", "two "):
            stream.add(word)
            assert await stream.drain(30)
        await ask(redis_url, "FLUSHALL")
        await ask(redis_url, "SCRIPT", "FLUSH")
        stream.add("three ")
        assert await stream.drain(30)
        stream.add("four")
        assert await stream.drain(30)
        await eventually(lambda: assembled(listener.heard) == "one two three four")
        assert [item.kind for item in listener.heard].count(Kind.SNAPSHOT) == 1
        snapshot = next(item for item in listener.heard if item.kind is Kind.SNAPSHOT)
        assert isinstance(parse_server_frame(snapshot.frame), MessageSnapshot)
        (kept,) = await one.open_messages.snapshots(session)
        assert (kept.text, kept.index) == ("one two three four", stream.index)


async def test_without_redis_this_worker_stays_live_and_all_is_whole_afterwards() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            session = new_session()
            listener = await ear(one, session)
            stream = begin(one, await fenced(one, session))
            stream.add("one ")
            assert await stream.drain(30)
            await eventually(lambda: len(listener.heard) == 1)
            valkey.stop()
            await eventually(lambda: not one.pipeline.connected)
            stream.add("two ")
            stream.add_reasoning("hm")
            assert assembled(listener.heard) == "one two "
            with pytest.raises(Unavailable):
                await one.open_messages.snapshots(session)
            valkey.start()
            await one.connected()
            stream.add("three")
            assert await stream.drain(30)
            await eventually(lambda: assembled(listener.heard) == "one two three")
            (kept,) = await one.open_messages.snapshots(session)
            assert (kept.text, kept.index) == ("one two three", stream.index)


async def test_a_frozen_redis_delays_tokens_by_seconds_and_loses_none() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            session = new_session()
            listener = await ear(one, session)
            stream = begin(one, await fenced(one, session))
            valkey.freeze()
            for word in ("one ", "two ", "three "):
                stream.add(word)
                await asyncio.sleep(0)
            await eventually(lambda: assembled(listener.heard) == "one two three ")
            valkey.thaw()
            await one.connected()
            stream.add("four")
            assert await stream.drain(30)
            await eventually(lambda: assembled(listener.heard) == "one two three four")


async def test_back_pressure_and_a_drain_in_vain() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one:
            stream = begin(one, await fenced(one, new_session()))
            stream.add("x")
            await stream.space()
            assert await stream.drain(30)
            valkey.freeze()
            stream.add("x" * MAX_UNSENT)
            assert not await stream.drain(0.05)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.space(), 0.05)
            valkey.thaw()
            await asyncio.wait_for(stream.space(), 30)
            assert await stream.drain(30)


async def test_a_closed_stream_sends_nothing_more(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        stream.add("x")
        assert await stream.drain(30)
        stream.add("never sent")
        stream.close()
        stream.close()
        stream.add("neither")
        await stream.space()
        assert stream.text.startswith("x")
        one.publisher.publish(session, envelope.live(session, b"{}"))
        await eventually(lambda: len(listener.heard) == 2)
        assert assembled(listener.heard) == "x"
        assert await one.open_messages.snapshots(session) == []


async def test_long_and_awkward_texts(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        stream = begin(one, await fenced(one, session))
        text = "\x01" * (3 * MAX_PIECE) + 'ü\U0001f600\n"\\'
        stream.add(text)
        assert await stream.drain(30)
        await eventually(lambda: assembled(listener.heard) == text)
        assert all(len(item.frame) < envelope.MAX_BYTES for item in listener.heard)
        stream.add("half a pair: \ud83d")
        assert await stream.drain(30)
        await eventually(lambda: assembled(listener.heard) == text + "half a pair: \ufffd")


async def test_junk_in_redis_is_an_error_of_the_relay(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        await ask(redis_url, "SADD", keys.open_messages(session), keys.text_prefix(session) + b"m")
        assert await one.open_messages.snapshots(session) == []
        await ask(redis_url, "SET", keys.text_prefix(session) + b"m", "text")
        with pytest.raises(Unavailable):
            await one.open_messages.snapshots(session)


async def test_a_fence_that_was_dropped_lets_nobody_write(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        stream = begin(one, await fenced(one, session))
        await one.fence.drop(session)
        one.holds_lease = False
        stream.add("x")
        assert not await stream.drain(5)


async def test_a_full_redis_keeps_nothing_and_still_shows_it_everywhere() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, relay(valkey.url) as other:
            session = new_session()
            here, there = await ear(one, session), await ear(other, session)
            lease = await fenced(one, session)
            stream = begin(one, lease)
            stream.add("one ")
            assert await stream.drain(30)
            await ask(valkey.url, "CONFIG", "SET", "maxmemory", "1")
            for word in ("two ", "three "):
                stream.add(word)
                assert await stream.drain(30)
            begun = begin(one, lease)
            begun.add("begun ")
            assert await begun.drain(30)
            for listener in (here, there):
                await eventually(partial(shows, listener, {stream.message: "one two three ", begun.message: "begun "}))
                assert {item.kind for item in listener.heard} == {Kind.DELTA}
            await ask(valkey.url, "CONFIG", "SET", "maxmemory", "0")
            for of, word in ((stream, "four"), (begun, "ended")):
                of.add(word)
                assert await of.drain(30)
            kept: dict[str, str] = {
                message.message: message.text for message in await one.open_messages.snapshots(session)
            }
            assert kept == {stream.message: "one two three four", begun.message: "begun ended"}
            for listener in (here, there):
                await eventually(partial(shows, listener, kept))


def shows(listener: Ear, texts: dict[str, str]) -> bool:
    return all(
        assembled([item for item in listener.heard if item.message == message]) == text
        for message, text in texts.items()
    )


async def test_the_fence_of_an_earlier_run_is_raised_by_who_holds_the_lease(redis_url: str) -> None:
    """As when Redis did not answer while the lease was granted."""
    async with relay(redis_url) as one:
        session = new_session()
        listener = await ear(one, session)
        assert await one.fence.raise_to(session, 1)
        lease = new_lease(session, 2)
        first, second = begin(one, lease), begin(one, lease)
        first.add("a")
        second.add_reasoning("b")
        assert await first.drain(30)
        assert await second.drain(30)
        assert one.refenced == [lease]
        await eventually(lambda: len(listener.heard) == 2)
        assert not await one.fence.raise_to(session, 1)


async def test_a_run_that_was_ended_elsewhere_shows_nothing_more(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session = new_session()
        stream = begin(one, await fenced(one, session, 5))
        stream.add("shown ")
        assert await stream.drain(30)
        one.deltas.silence(new_lease(session, 6))
        await eventually_so(lambda: nothing_open(one, session))
        stream.add_reasoning("too late")
        assert not await stream.drain(5)
        assert stream.refused
        successor = begin(one, await fenced(one, session, 7))
        successor.add("of the next run")
        assert await successor.drain(30)
        one.deltas.silence(new_lease(session, 6))  # it comes too late to matter
        successor.add(" and more")
        assert await successor.drain(30)
        assert not await nothing_open(one, session)
