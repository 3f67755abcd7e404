"""Tickets, rate limits and who is here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest

from hub.domain.errors import Unavailable
from hub.domain.ids import SessionId, UserId, new_id
from hub.protocol.events import PresenceChanged
from hub.protocol.frames import parse_server_frame
from hub.protocol.live import PresenceData
from hub.protocol.pieces import AgentAuthor
from hub.relay import keys
from hub.relay.connection import Redis
from hub.relay.limits import Limits
from hub.relay.presence import LEAVE_DELAY_S, PER_SESSION, SESSIONS_PER_WRITE, Presence
from hub.relay.tickets import TicketStore
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


async def test_a_ticket_is_taken_once(redis_url: str) -> None:
    async with relay(redis_url) as one:
        tickets = TicketStore(one.redis)
        await tickets.put("digest", b"value", 30)
        taken = await asyncio.gather(*(tickets.take("digest") for _ in range(10)))
        assert sorted(taken, key=lambda value: value is None) == [b"value"] + [None] * 9
        await tickets.put("short", b"value", 1)
        assert 0 < int(str(await ask(redis_url, "PTTL", "hub:ticket:short"))) <= 1000


async def test_a_limit_gives_its_burst_and_says_when_there_is_more(redis_url: str) -> None:
    async with relay(redis_url) as one:
        limits = Limits(one.redis)
        verdicts = [await limits.take("a", per_minute=60, burst=5, when_down="refuse") for _ in range(6)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
        assert 0 < verdicts[-1].retry_after_s <= 1
        assert (await limits.take("b", per_minute=60, burst=5, cost=99, when_down="refuse")).allowed
        assert not (await limits.take("b", per_minute=60, burst=5, when_down="refuse")).allowed


async def allowed(limits: Limits) -> bool:
    return (await limits.take("a", per_minute=1200, burst=1, when_down="refuse")).allowed


async def test_a_limit_fills_up_again(redis_url: str) -> None:
    async with relay(redis_url) as one:
        limits = Limits(one.redis)
        assert (await limits.take("a", per_minute=1200, burst=1, when_down="refuse")).allowed
        started = time.monotonic()
        await eventually_so(lambda: allowed(limits))
        assert 0.02 < time.monotonic() - started < 15


async def test_a_limit_without_redis_does_what_it_was_told() -> None:
    redis = Redis("unix:///nowhere.sock")
    limits = Limits(redis)
    assert (await limits.take("a", per_minute=1, burst=1, when_down="allow")).allowed
    assert not (await limits.take("a", per_minute=1, burst=1, when_down="refuse")).allowed
    with pytest.raises(Unavailable):
        await TicketStore(redis).take("x")
    await redis.close()


ANN, BOB = UserId(new_id()), UserId(new_id())


@asynccontextmanager
async def presence(one: Relay, *, ttl_s: float = 60, refresh_s: float = 20) -> AsyncIterator[Presence]:
    here = Presence(one.pipeline, ttl_s=ttl_s, refresh_s=refresh_s)
    task = one.tasks.create_task(here.run())
    try:
        yield here
    finally:
        task.cancel()


def told(listener: Ear) -> list[PresenceData]:
    frames = [parse_server_frame(item.frame) for item in listener.heard]
    assert all(isinstance(frame, PresenceChanged) for frame in frames)
    return [PresenceData(**frame.data.model_dump()) for frame in frames if isinstance(frame, PresenceChanged)]


def person(user: UserId, name: str, status: str, connections: int) -> PresenceData:
    return PresenceData.model_validate({"user": user, "name": name, "status": status, "connections": connections})


async def test_joining_typing_and_leaving_are_told_once_each(redis_url: str) -> None:
    async with relay(redis_url) as one, presence(one) as here:
        session = new_session()
        listener = await ear(one, session)
        here.join(session, ANN, 'Ann "A"\nÄ', "c1")
        assert await here.list(session) == [person(ANN, 'Ann "A"\nÄ', "active", 1)]
        await eventually(lambda: len(listener.heard) == 1)
        here.set(session, ANN, "c1", "typing")
        await eventually(lambda: len(listener.heard) == 2)
        here.set(session, ANN, "c1", "typing")
        left_at = time.monotonic()
        here.leave(session, ANN, "c1")
        here.leave(session, ANN, "c1")
        assert await here.list(session) == []
        await eventually(lambda: len(listener.heard) == 3)
        assert time.monotonic() - left_at >= LEAVE_DELAY_S
        assert [(data.status, data.connections) for data in told(listener)] == [
            ("active", 1),
            ("typing", 1),
            ("offline", 0),
        ]
        assert {(data.user, data.name) for data in told(listener)} == {(ANN, 'Ann "A"\nÄ')}


async def test_coming_back_at_once_is_no_news(redis_url: str) -> None:
    async with relay(redis_url) as one, presence(one) as here:
        session = new_session()
        listener = await ear(one, session)
        here.join(session, ANN, "Ann", "c1")
        await eventually(lambda: len(listener.heard) == 1)
        here.leave(session, ANN, "c1")
        here.join(session, ANN, "Ann", "c2")
        here.join(session, BOB, "Bob", "c3")
        await eventually(lambda: len(listener.heard) == 2)
        assert [data.name for data in told(listener)] == ["Ann", "Bob"]


async def test_many_who_come_one_after_the_other_are_news_once_a_second(redis_url: str) -> None:
    async with relay(redis_url) as one, presence(one) as here:
        session = new_session()
        listener = await ear(one, session)
        began = time.monotonic()
        for number in range(10):
            here.join(session, ANN, "Ann", f"c{number}")
            await asyncio.sleep(0.15)  # longer than what is told once anyway
        await eventually(lambda: listener.heard and told(listener)[-1].connections == 10)
        assert len(listener.heard) <= 3 + time.monotonic() - began


async def test_two_workers_and_several_connections_are_one_person(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two, presence(one) as here, presence(two) as there:
        session = new_session()
        listener = await ear(one, session)
        here.join(session, ANN, "Ann", "c1")
        here.set(session, ANN, "c1", "idle")
        await here.list(session)
        there.join(session, ANN, "Ann", "c2")
        assert await there.list(session) == [person(ANN, "Ann", "active", 2)]
        here.set(session, ANN, "c1", "typing")
        await here.list(session)
        there.set(session, ANN, "c2", "idle")
        await there.list(session)
        assert await here.list(session) == [person(ANN, "Ann", "typing", 2)]
        await eventually(lambda: listener.heard and told(listener)[-1] == person(ANN, "Ann", "typing", 2))


async def test_the_last_news_is_the_truth_whoever_tells_it(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two, presence(one) as here, presence(two) as there:
        session = new_session()
        listener = await ear(one, session)
        for number in range(40):
            here.join(session, ANN, "Ann", f"h{number}")
            there.join(session, ANN, "Ann", f"t{number}")
            await asyncio.sleep(0)
        await eventually(lambda: listener.heard and told(listener)[-1].connections == 80)
        counts = [data.connections for data in told(listener)]
        assert counts == sorted(counts)


async def test_who_died_with_a_worker_is_told_by_another(redis_url: str) -> None:
    async with relay(redis_url) as one, presence(one, ttl_s=1.5, refresh_s=0.1) as here:
        session = new_session()
        listener = await ear(one, session)
        here.join(session, BOB, "Bob", "c1")
        async with relay(redis_url) as two, presence(two, ttl_s=1.5, refresh_s=0.1) as there:
            there.join(session, ANN, "Ann", "c2")
            await eventually(lambda: {data.name for data in told(listener)} == {"Ann", "Bob"})
        await eventually(lambda: told(listener)[-1] == person(ANN, "Ann", "offline", 0))
        assert await here.list(session) == [person(BOB, "Bob", "active", 1)]


async def test_presence_survives_an_emptied_redis(redis_url: str) -> None:
    async with relay(redis_url) as one, presence(one, refresh_s=0.1) as here:
        session = new_session()
        here.join(session, ANN, "Ann", "c1")
        assert len(await here.list(session)) == 1
        await ask(redis_url, "FLUSHALL")
        await eventually_so(lambda: here.list(session))


async def test_what_redis_did_not_take_is_told_later() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, presence(one, refresh_s=0.2) as here:
            session = new_session()
            listener = await ear(one, session)
            here.join(session, ANN, "Ann", "c1")
            await eventually(lambda: len(listener.heard) == 1)
            await ask(valkey.url, "CONFIG", "SET", "maxmemory", "1")
            before = one.pipeline.flushes
            here.set(session, ANN, "c1", "typing")
            await eventually(lambda: one.pipeline.flushes >= before + 5)  # it was tried in vain to tell it
            assert len(listener.heard) == 1
            await ask(valkey.url, "CONFIG", "SET", "maxmemory", "0")
            await eventually(lambda: told(listener)[-1] == person(ANN, "Ann", "typing", 1))


async def test_many_sessions_and_many_connections_are_kept_alive(redis_url: str) -> None:
    async def expiries(session: SessionId) -> list[int]:
        values = await ask(redis_url, "HVALS", keys.presence(session).decode())
        assert isinstance(values, list)
        return [int(value.split(b"\n")[0]) for value in values]

    async def all_live_longer(session: SessionId, than: int) -> bool:
        return min(await expiries(session)) > than

    async with relay(redis_url) as one, presence(one, refresh_s=0.1) as here:
        small, large = [new_session() for _ in range(SESSIONS_PER_WRITE + 1)], new_session()
        for session in small:
            here.join(session, ANN, "Ann", "c1")
        for number in range(PER_SESSION + 1):
            here.join(large, ANN, "Ann", f"c{number}")
        await here.list(large)
        for session in (small[0], small[1], small[-1], large):
            await eventually_so(partial(all_live_longer, session, max(await expiries(session))))
        assert await here.list(small[-1]) == [person(ANN, "Ann", "active", 1)]
        assert await here.list(large) == [person(ANN, "Ann", "active", PER_SESSION + 1)]


async def test_without_redis_nobody_is_here_and_nothing_fails() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, presence(one) as here:
            valkey.stop()
            await eventually(lambda: not one.pipeline.connected)
            session = SessionId(new_id())
            here.join(session, ANN, "Ann", "c1")
            here.set(session, ANN, "c1", "idle")
            here.set(session, BOB, "c9", "idle")
            assert await here.list(session) == []
            here.leave(session, ANN, "c1")


async def test_nobody_gets_the_answer_to_somebody_elses_question(redis_url: str) -> None:
    """T24: whoever is cancelled in mid question leaves no answer on the connection for the next one."""
    random = Random(0)
    async with relay(redis_url) as one:

        async def ask_often(name: int) -> int:
            answered = 0
            for number in range(150):
                word = f"{name}.{number}"
                question = asyncio.create_task(one.redis.command("ECHO", word))
                for _ in range(random.randrange(12)):
                    await asyncio.sleep(0)
                question.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    assert await question == word.encode()
                    answered += 1
                assert await one.redis.command("ECHO", f"{word}!") == f"{word}!".encode()
            return answered

        answered = await asyncio.gather(*(ask_often(name) for name in range(8)))
        assert 0 < sum(answered) < 8 * 150, "some were cancelled, some were not"


async def test_a_text_that_is_another_sessions_is_not_handed_out(redis_url: str) -> None:
    async with relay(redis_url) as one:
        session, other = new_session(), new_session()
        lease = new_lease(other)
        await one.fence.raise_to(other, lease.epoch)
        stream = one.deltas.open(lease, new_id(), turn=0, author=AgentAuthor(name="a", display_name="A"), seq=1)
        stream.add("secret")
        assert await stream.drain(30)
        (found,) = await one.open_messages.snapshots(other)
        key = f"hub:{{{other}}}:text:{found.message}"
        await ask(redis_url, "SADD", f"hub:{{{session}}}:open", key)
        with pytest.raises(Unavailable):
            await one.open_messages.snapshots(session)
