"""What callers may ask of all workers together: what is told together counts as if it had been told one by one."""

from typing import cast

import pytest

from hub.relay import keys, scripts
from hub.relay.allowances import Allowance, Allowances
from hub.relay.connection import Redis
from tests.relay.wiring import eventually, relay

MINUTE_US = 60_000_000
SLOWLY_US = 20_000_000  # what a busy machine may take between two calls here


@pytest.mark.parametrize(("burst", "asked"), [(5, [1]), (5, [5]), (5, [7]), (5, [2, 2, 2, 1]), (1, [3]), (1, [1, 1])])
async def test_as_many_are_counted_as_one_by_one(redis_url: str, burst: int, asked: list[int]) -> None:
    redis = Redis(redis_url)
    together = [await redis.script(scripts.load("allowance"), [b"t"], [MINUTE_US, burst, many]) for many in asked]
    single = [await redis.script(scripts.load("limit"), [b"s"], [MINUTE_US, burst, 1]) for _ in range(sum(asked))]
    (wait, used), (expected_wait, expected_used) = cast(list[int], together[-1]), cast(list[int], single[-1])
    assert abs(wait - expected_wait) < SLOWLY_US
    assert bool(wait) is bool(expected_wait)
    assert abs(used - expected_used) < SLOWLY_US
    await redis.close()


async def test_those_who_come_at_once_at_two_workers_are_all_counted(redis_url: str) -> None:
    rule = Allowance("test", 1, 10)
    async with relay(redis_url) as one, relay(redis_url) as two:
        here, there = Allowances(one.pipeline), Allowances(two.pipeline)
        for _ in range(4):
            assert here.take(rule, "ann").retry_after_s == 0
            assert there.take(rule, "ann").retry_after_s == 0
        assert here.take(rule, "bob").remaining == 9
        # Each hears of the other's with the answer to its own next.
        await eventually(lambda: here.take(rule, "ann").retry_after_s > 0)
        await eventually(lambda: there.take(rule, "ann").retry_after_s > 0)
        assert here.take(rule, "bob").remaining == 8
        redis = Redis(redis_url)
        wait, used = cast(
            list[int], await redis.script(scripts.load("limit"), [keys.limit("test:ann")], [MINUTE_US, 10, 1])
        )
        assert (wait > 0, round(used / MINUTE_US)) == (True, 10)
        await redis.close()
