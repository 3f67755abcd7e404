"""Rooms on a real PostgreSQL and a real Valkey: opening, joining, healing, vanishing, and a storm of all of it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest

from hub.domain.errors import BadRequest, NotFound, Unavailable
from hub.domain.ids import RunId, SessionId, UserId, new_id
from hub.domain.run import Lease
from hub.domain.session import OnBusy
from hub.gateway.follower import Follower
from hub.gateway.outbox import Outbox
from hub.gateway.rooms import PAGE, REMEMBERED, Rooms
from hub.protocol.durable import MessageCompletedData, MessageRedactedData
from hub.protocol.frames import DeltaFrames, LoggedEvent, NewEvent, now_ms
from hub.protocol.pieces import AgentAuthor, Person, UsageData
from hub.relay import envelope, keys
from hub.store import log, sessions, users
from hub.store.database import Store
from tests.gateway.room_world import payload_of
from tests.relay.wiring import Relay, ask, eventually, own_valkey, relay

ALPHA = AgentAuthor(name="alpha", display_name="Alpha")


class Watcher:
    """A client on one worker: fails when a durable event is not the next one, or a message has a hole."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.seq: int | None = None
        self.texts: dict[str, str] = {}
        self.next: dict[str, int] = {}
        self.wrong: list[dict[str, Any]] = []
        self.outbox = Outbox(self, lambda: None, max_bytes=1_048_576)
        self.follower: Follower | None = None

    def write(self, frame: bytes) -> None:
        for line in payload_of(frame).split(b"\n"):
            self._take(json.loads(line))

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        data = frame["data"]
        if "seq" in frame:
            if self.seq is not None and frame["seq"] != self.seq + 1:
                self.wrong.append(frame)
            self.seq = frame["seq"]
        elif frame["type"] == "message.snapshot":
            self.texts[data["message"]], self.next[data["message"]] = data["text"], data["index"]
        elif frame["type"] == "message.delta":
            if data["index"] != self.next.get(data["message"], 0):
                self.wrong.append(frame)
            self.texts[data["message"]] = self.texts.get(data["message"], "") + data["text"]
            self.next[data["message"]] = data["index"] + data.get("n", 1)

    async def join(self, rooms: Rooms, session: SessionId, after_seq: int | None, known_seq: int = 0) -> Follower:
        self.follower = await rooms.open(session, self.outbox, after_seq=after_seq, known_seq=known_seq)
        self.seq = self.follower.replay_from - 1
        self.follower.start()
        return self.follower

    def leave(self) -> None:
        assert self.follower is not None
        self.follower.close()
        self.outbox.close()


@asynccontextmanager
async def rooms_of(store: Store, one: Relay, *, check_s: float = 2.0) -> AsyncIterator[Rooms]:
    rooms = Rooms(store, one.subscriber, one.open_messages, one.tasks, check_s=check_s)
    task = one.tasks.create_task(rooms.run())
    try:
        yield rooms
    finally:
        task.cancel()


async def new_session(store: Store) -> SessionId:
    session, owner = SessionId(new_id()), UserId(new_id())
    async with store.transaction() as db:
        await users.create(db, id=owner, name=f"user{owner}", password_hash=None, is_admin=False)
        await sessions.create(
            db, id=session, title="t", team="scripted", on_busy=OnBusy.QUEUE, metadata={}, owner=owner
        )
    return session


async def say(store: Store, session: SessionId, count: int = 1, size: int = 1) -> list[LoggedEvent]:
    person = Person(id="u", name="n" * size)
    async with store.transaction() as db:
        data = [NewEvent(MessageRedactedData(message="m", by=person)) for _ in range(count)]
        return await log.append(db, session, data)


async def publish(one: Relay, store: Store, session: SessionId, count: int = 1, size: int = 1) -> None:
    for event in await say(store, session, count, size):
        one.publisher.publish(session, envelope.durable(event))


def new_lease(session: SessionId) -> Lease:
    return Lease(RunId(new_id()), session, 1)


async def test_replay_then_live_then_gone(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        await say(store, session, 120)
        watcher, last_fifty = Watcher(), Watcher()
        follower = await watcher.join(rooms, session, 0)
        assert (follower.last_seq, follower.replay_from) == (120, 1)
        follower = await last_fifty.join(rooms, session, None)
        assert (follower.last_seq, follower.replay_from) == (120, 71)
        await publish(one, store, session, 5)
        await eventually(lambda: watcher.seq == last_fifty.seq == 125)
        assert (len(watcher.frames), len(last_fifty.frames)) == (125, 55)
        assert not watcher.wrong
        assert not last_fifty.wrong
        assert len(rooms) == 1
        watcher.leave()
        last_fifty.leave()
        last_fifty.leave()
        assert len(rooms) == 0
        await publish(one, store, session)
        assert keys.channel(session) not in one.subscriber._channels


async def test_a_replay_of_many_pages(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        await say(store, session, 2 * PAGE + 10)
        watcher = Watcher()
        await watcher.join(rooms, session, 3)
        await publish(one, store, session, 3)
        await eventually(lambda: watcher.seq == 2 * PAGE + 13)
        assert not watcher.wrong
        assert len(watcher.frames) == 2 * PAGE + 10


async def test_nothing_to_replay_is_live_at_once(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        follower = await watcher.join(rooms, session, 0)
        assert (follower.last_seq, follower.replay_from) == (0, 1)
        await publish(one, store, session)
        await eventually(lambda: watcher.seq == 1)


async def test_a_position_beyond_the_log_is_refused(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        await say(store, session, 3)
        with pytest.raises(BadRequest) as caught:
            await Watcher().join(rooms, session, 4)
        assert caught.value.details == {"last_seq": 3}
        assert len(rooms) == 0


async def test_a_session_that_is_not_there(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        unknown = SessionId(new_id())
        results = await asyncio.gather(
            *(Watcher().join(rooms, unknown, None) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, NotFound) for result in results)
        assert len(rooms) == 0


async def test_a_position_the_room_has_not_seen_yet_is_no_future(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=60) as rooms:
        session = await new_session(store)
        first, second, third = Watcher(), Watcher(), Watcher()
        await first.join(rooms, session, None)
        await say(store, session, 4)
        assert (await second.join(rooms, session, 3)).last_seq == 4
        await say(store, session, 4)
        assert (await third.join(rooms, session, None, known_seq=8)).last_seq == 8
        await eventually(lambda: first.seq == second.seq == third.seq == 8)
        assert not first.wrong + second.wrong + third.wrong


async def test_many_join_at_once_and_one_gives_up(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        await say(store, session, 10)
        impatient = one.tasks.create_task(Watcher().join(rooms, session, 0))
        await asyncio.sleep(0)
        impatient.cancel()
        watchers = [Watcher() for _ in range(20)]
        await asyncio.gather(*(watcher.join(rooms, session, 0) for watcher in watchers))
        await publish(one, store, session, 2)
        await eventually(lambda: all(watcher.seq == 12 for watcher in watchers))
        for watcher in watchers:
            watcher.leave()
        assert len(rooms) == 0


async def test_everybody_gives_up_before_the_room_is_open(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        for turns in range(6):
            joining = one.tasks.create_task(Watcher().join(rooms, session, 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            joining.cancel()
            await asyncio.wait((joining,))
            assert len(rooms) == 0
        await eventually(lambda: keys.channel(session) not in one.subscriber._channels)


async def test_a_lost_event_is_healed_by_the_next_one(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=60) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await say(store, session, 3)
        await publish(one, store, session)
        await eventually(lambda: watcher.seq == 4)
        assert not watcher.wrong


async def test_the_last_event_lost_is_healed_by_the_position_check(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=0.2) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await say(store, session, 3)
        await eventually(lambda: watcher.seq == 3)
        await eventually(
            lambda: (rooms.position_fixes, rooms.healed) == (1, 3)
        )  # counted when the log is read to its end


async def test_without_the_position_check_it_is_not(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=60) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await say(store, session, 3)
        with pytest.raises(TimeoutError):
            await eventually(lambda: watcher.seq == 3, deadline_s=0.5)


async def test_a_reconnect_heals(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=60) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await say(store, session, 3)
        await ask(redis_url, "CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: watcher.seq == 3)


async def test_a_large_event_arrives_through_the_log(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=60) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await publish(one, store, session, size=100_000)
        await eventually(lambda: watcher.seq == 1)


async def test_who_joins_in_the_middle_of_a_message_on_another_worker(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two, rooms_of(store, two) as rooms:
        session = await new_session(store)
        await say(store, session, 2)
        lease = new_lease(session)
        assert await one.fence.raise_to(session, 1)
        stream = one.deltas.open(lease, new_id(), turn=0, author=ALPHA, seq=2)
        for i in range(20):
            stream.add(f"{i} ")
            await asyncio.sleep(0)
        assert await stream.drain(30)
        watchers = [Watcher(), Watcher()]
        for watcher in watchers:
            await watcher.join(rooms, session, 0)
        for i in range(20, 40):
            stream.add(f"{i} ")
            await asyncio.sleep(0)
        assert await stream.drain(30)
        whole = "".join(f"{i} " for i in range(40))
        await eventually(lambda: all(watcher.texts.get(stream.message) == whole for watcher in watchers))
        assert all([f["type"] for f in w.frames].count("message.snapshot") == 1 for w in watchers)
        assert not watchers[0].wrong + watchers[1].wrong


async def test_a_message_that_has_just_ended_is_not_shown_as_open(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one) as rooms:
        session = await new_session(store)
        assert await one.fence.raise_to(session, 1)
        await say(store, session, 2)
        ended = one.deltas.open(new_lease(session), new_id(), turn=0, author=ALPHA, seq=2)
        still_open = one.deltas.open(new_lease(session), new_id(), turn=0, author=ALPHA, seq=2)
        ended.add("over")
        still_open.add("not yet")
        assert await ended.drain(30)
        assert await still_open.drain(30)
        completed = MessageCompletedData(
            message=ended.message, author=ALPHA, text="over", turn=0, status="complete", usage=UsageData()
        )
        async with store.transaction() as db:
            await log.append(db, session, [NewEvent(completed)])
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        await eventually(lambda: len(watcher.frames) == 4)
        assert watcher.texts == {still_open.message: "not yet"}
        late = DeltaFrames(session, new_lease(session).run, ended.message, 0, ALPHA.name, ALPHA.display_name)
        frame = late.delta(0, "over", now_ms())  # it was under way when the room was opened
        one.publisher.publish(session, envelope.delta(session, ended.message, 0, 2, frame))
        still_open.add(", still")
        await eventually(lambda: watcher.texts.get(still_open.message) == "not yet, still")
        assert watcher.texts == {still_open.message: "not yet, still"}
        gaps, entry = one.subscriber.gaps, rooms._entries[session]
        await ask(redis_url, "CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: one.subscriber.gaps > gaps)
        await eventually(lambda: not entry.repairing and not entry.room.needs_text)
        assert watcher.texts == {still_open.message: "not yet, still"}
        assert not watcher.wrong


async def test_a_lost_delta_is_made_good_from_redis(store: Store, redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two, rooms_of(store, two) as rooms:
        session = await new_session(store)
        watcher = Watcher()
        await watcher.join(rooms, session, 0)
        assert await one.fence.raise_to(session, 1)
        stream = one.deltas.open(new_lease(session), new_id(), turn=0, author=ALPHA, seq=0)
        stream.add("one ")
        assert await stream.drain(30)
        await eventually(lambda: watcher.texts.get(stream.message) == "one ")
        await ask(redis_url, "CLIENT", "KILL", "TYPE", "pubsub")
        for word in ("two ", "three "):
            stream.add(word)
            assert await stream.drain(30)
        await eventually(lambda: watcher.texts.get(stream.message) == "one two three ")
        assert not watcher.wrong


async def test_without_redis_joining_and_local_events_go_on(store: Store) -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, rooms_of(store, one, check_s=0.2) as rooms:
            session = await new_session(store)
            await say(store, session, 5)
            valkey.stop()
            await eventually(lambda: not one.subscriber.connected and not one.pipeline.connected)
            watcher = Watcher()
            async with asyncio.timeout(30):
                await watcher.join(rooms, session, 0)
            await publish(one, store, session)
            await eventually(lambda: watcher.seq == 6)
            await say(store, session)
            await eventually(lambda: watcher.seq == 7)
            stream = one.deltas.open(new_lease(session), new_id(), turn=0, author=ALPHA, seq=7)
            stream.add("one ")
            await eventually(lambda: watcher.texts.get(stream.message) == "one ")
            valkey.start()
            await one.connected()
            stream.add("two")
            assert await stream.drain(30)
            await eventually(lambda: watcher.texts.get(stream.message) == "one two")
            assert not watcher.wrong


async def test_a_frozen_redis_delays_a_join_and_no_more(store: Store) -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, rooms_of(store, one) as rooms:
            session = await new_session(store)
            await say(store, session, 5)
            valkey.freeze()
            watcher = Watcher()
            async with asyncio.timeout(30):
                await watcher.join(rooms, session, 0)
            await eventually(lambda: watcher.seq == 5)


async def test_without_postgresql_a_join_is_refused_and_a_replay_waits(store: Store, redis_url: str, dsn: str) -> None:
    async with relay(redis_url) as one, rooms_of(store, one, check_s=0.2) as rooms:
        session = await new_session(store)
        await say(store, session, REMEMBERED + 10)
        away = Store("postgresql://hub@/hub?host=/nowhere")
        async with rooms_of(away, one) as elsewhere:
            with pytest.raises(Unavailable):
                await Watcher().join(elsewhere, session, 0)
            assert len(elsewhere) == 0
        await away.close()
        watcher = Watcher()
        follower = await rooms.open(session, watcher.outbox, after_seq=0)
        watcher.seq = 0
        rooms._store = away = Store("postgresql://hub@/hub?host=/nowhere")
        follower.start()
        with pytest.raises(TimeoutError):
            await eventually(lambda: watcher.seq == REMEMBERED + 10, deadline_s=0.5)
        await away.close()
        rooms._store = store
        await eventually(lambda: watcher.seq == REMEMBERED + 10)
        assert not watcher.wrong


def reached(watcher: Watcher, seq: int | None) -> bool:
    return watcher.seq is not None and seq is not None and watcher.seq >= seq


async def length(store: Store, session: SessionId) -> int | None:
    async with store.transaction() as db:
        return await log.last_seq(db, session)


async def test_a_storm(store: Store) -> None:
    """Two workers, reconnecting clients, killed Pub/Sub connections, a Redis that is restarted empty: no gap, no
    duplicate, no lost tail, and nothing is left behind."""
    dice = random.Random(7)
    with own_valkey() as valkey:
        async with (
            relay(valkey.url) as one,
            relay(valkey.url) as two,
            rooms_of(store, one, check_s=0.5) as here,
            rooms_of(store, two, check_s=0.5) as there,
        ):
            all_sessions = [await new_session(store) for _ in range(4)]
            storm = asyncio.Event()
            delivered = 0

            async def publishing(relay_: Relay, session: SessionId) -> None:
                while not storm.is_set():
                    with suppress(Unavailable):  # the machine may be too busy for the database's deadlines
                        await publish(relay_, store, session, dice.randint(1, 3))
                    await asyncio.sleep(dice.uniform(0, 0.03))

            async def watching(session: SessionId) -> None:
                nonlocal delivered
                position = 0
                while True:
                    ending = storm.is_set()
                    watcher = Watcher()
                    try:
                        await watcher.join(dice.choice((here, there)), session, position)
                    except Unavailable:
                        continue
                    if ending:
                        await eventually(partial(reached, watcher, await length(store, session)), deadline_s=30)
                    else:
                        await asyncio.sleep(dice.uniform(0.01, 0.3))
                    watcher.leave()
                    assert not watcher.wrong
                    assert watcher.seq is not None
                    position = watcher.seq
                    delivered += len(watcher.frames)
                    if ending:
                        return

            async def breaking() -> None:
                for round_ in range(12):
                    await asyncio.sleep(0.25)
                    if round_ % 5 == 4:
                        await asyncio.to_thread(valkey.stop)
                        await asyncio.to_thread(valkey.start)
                    else:
                        await ask(valkey.url, "CLIENT", "KILL", "TYPE", "pubsub")
                storm.set()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(breaking())
                for session in all_sessions:
                    tasks.create_task(publishing(one, session))
                    tasks.create_task(publishing(two, session))
                    for _ in range(5):
                        tasks.create_task(watching(session))
            assert delivered > 100
            assert len(here) == len(there) == 0
