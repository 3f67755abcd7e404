"""What is held at all workers together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub.relay.holdings import Cap, Exceeded, Held, Holdings
from tests.relay.wiring import Relay, ask, eventually, eventually_so, own_valkey, relay

TWO = Cap("things:user:ann", 2)
ONE = Cap("things:user:bob", 1)
ALL = Cap("things:organisation:x", 3)


@asynccontextmanager
async def holdings(one: Relay, *, life_s: float = 15, beat_s: float = 5) -> AsyncIterator[Holdings]:
    here = Holdings(one.pipeline, life_s=life_s, beat_s=beat_s)
    task = one.tasks.create_task(here.run())
    try:
        yield here
    finally:
        task.cancel()


async def got(here: Holdings, *caps: Cap) -> Held | None:
    """One of these, if there is one to be had."""
    try:
        held = here.take(caps)
        await held.confirm()
    except Exceeded:
        return None
    return held


async def test_of_many_who_come_at_once_as_many_get_in_as_may(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two:
        here, there = Holdings(one.pipeline), Holdings(two.pipeline)
        for _ in range(5):
            asked = [got(place, cap) for cap in (ONE, TWO, ALL, TWO, TWO, ALL, ALL, ONE) for place in (here, there)]
            held = [found for found in await asyncio.gather(*asked) if found is not None]
            assert sorted(cap.most for found in held for cap in found.caps) == [1, 2, 2, 3, 3, 3]
            for found in held:
                found.release()
            for cap in (ONE, TWO, ALL):  # who was refused holds nothing either, at either worker
                await eventually_so(lambda cap=cap: nobody_has(redis_url, cap))  # type: ignore[misc]


async def test_whoever_exceeds_one_of_two_caps_holds_neither(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two:
        here, there = Holdings(one.pipeline), Holdings(two.pipeline)
        first = await got(here, TWO, ALL)
        assert first
        assert await got(there, TWO, ALL)
        assert await got(there, ONE, ALL)
        eve, other = Cap("things:user:eve", 1), Cap("things:organisation:y", 9)
        assert await got(here, eve, ALL) is None, "the organisation has all it may"
        assert await got(here, ONE, other) is None
        for cap in (eve, other):
            await eventually_so(lambda cap=cap: nobody_has(redis_url, cap))  # type: ignore[misc]
        first.release()
        await eventually_so(lambda: got(there, eve, ALL))


async def nobody_has(redis_url: str, cap: Cap) -> bool:
    return not await ask(redis_url, "EXISTS", f"hub:held:{cap.holder}")


async def holds(redis_url: str, cap: Cap, shares: list[bytes]) -> bool:
    return await ask(redis_url, "HVALS", f"hub:held:{cap.holder}") == shares


async def test_what_a_dead_worker_held_is_free_and_what_a_living_one_holds_is_not(redis_url: str) -> None:
    async with relay(redis_url) as one, holdings(one, life_s=1.5, beat_s=0.1) as here:
        assert await got(here, TWO)
        async with relay(redis_url) as two, holdings(two, life_s=1.5, beat_s=0.1) as there:
            assert await got(there, TWO)
            assert await got(here, TWO) is None
        await eventually_so(lambda: got(here, TWO))
        async with relay(redis_url) as two, holdings(two, life_s=1.5, beat_s=0.1) as there:
            await asyncio.sleep(1.8)  # longer than a worker lives that says nothing
            assert await got(there, TWO) is None


async def test_counts_survive_an_emptied_redis(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two, holdings(one, beat_s=0.1) as here:
        assert await got(here, ONE)
        await ask(redis_url, "FLUSHALL")
        await eventually_so(lambda: ask(redis_url, "EXISTS", f"hub:held:{ONE.holder}"))
        assert await got(Holdings(two.pipeline), ONE) is None


async def test_without_redis_each_worker_counts_alone_and_says_so_afterwards() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, relay(valkey.url) as two, holdings(one, beat_s=0.1) as here:
            valkey.stop()
            await eventually(lambda: not (one.pipeline.connected or two.pipeline.connected))
            there = Holdings(two.pipeline)
            mine, other = await got(here, ONE), await got(there, ONE)
            assert mine is not None, "nobody is there to ask"
            assert other is not None
            assert await got(here, ONE) is None, "this much is known without asking"
            mine.release()
            assert await got(here, ONE)
            valkey.start()
            await one.connected()
            await two.connected()
            await eventually_so(lambda: ask(valkey.url, "EXISTS", f"hub:held:{ONE.holder}"))
            other.release()
            other.release()
            assert await got(there, ONE) is None


async def test_what_was_given_back_while_redis_was_out_of_reach_is_free() -> None:
    with own_valkey() as valkey:
        async with relay(valkey.url) as one, relay(valkey.url) as two, holdings(one, beat_s=0.1) as here:
            gone, kept = await got(here, ONE), await got(here, TWO)
            assert gone
            assert kept
            valkey.freeze()
            await eventually(lambda: not one.pipeline.connected)
            gone.release()
            valkey.thaw()
            await one.connected()
            await two.connected()
            there = Holdings(two.pipeline)
            await eventually_so(lambda: got(there, ONE))
            assert await got(there, TWO)
            assert await got(there, TWO) is None, "what was not given back counts, and once"
            assert await ask(valkey.url, "ZCARD", "hub:workers") == 2, "and no name is left over"


async def test_a_redis_that_stands_still_holds_nobody_up_for_long_and_learns_whom_it_did_not_let_in() -> None:
    with own_valkey() as valkey:
        async with (
            relay(valkey.url) as one,
            relay(valkey.url) as two,
            holdings(one, beat_s=1) as here,
            holdings(two, beat_s=1) as there,
        ):
            first = await got(there, ONE)
            assert first
            valkey.freeze()
            async with asyncio.timeout(30):
                assert await got(here, ONE)
            valkey.thaw()
            await ask(valkey.url, "PING")  # what was said to it before has been heard
            first.release()
            await eventually_so(lambda: holds(valkey.url, ONE, [b"1"]))
            assert await got(there, ONE) is None


async def test_who_is_gone_before_the_answer_holds_nothing(redis_url: str) -> None:
    async with relay(redis_url) as one, relay(redis_url) as two:
        here = Holdings(one.pipeline)
        with pytest.raises(Exceeded):
            here.take([ONE]), here.take([ONE])
        for _ in range(3):
            held = here.take([TWO])
            await asyncio.sleep(0)
            held.release()
        last = await got(here, TWO)
        assert last
        assert await ask(redis_url, "HVALS", f"hub:held:{TWO.holder}") == [b"1"]
        assert await got(Holdings(two.pipeline), TWO)
