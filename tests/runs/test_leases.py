"""Leases: kept as long as a run takes, however short they are."""

import pytest

from hub.domain.ids import SessionId
from hub.relay import keys
from hub.relay.connection import Redis
from hub.relay.fence import TTL_S
from hub.runs import lease
from tests.conftest import running_worker, settings_for
from tests.relay.wiring import eventually_so
from tests.runs.test_runs import leases_lost
from tests.runs.test_sending import room_for


async def test_a_run_of_several_short_leases_is_not_taken_over(dsn: str, redis_url: str) -> None:
    async with (
        running_worker(settings_for(dsn, redis_url, lease_s=3), "test:1:a") as one,
        running_worker(settings_for(dsn, redis_url, lease_s=3), "test:2:b"),
        await one.person() as ada,
    ):
        session = await room_for(ada)
        await ada.say(session, "/script turns=1 tokens=60 rate=9")
        frames = await ada.until("run.finished", status="completed")
    assert [f["data"]["attempt"] for f in frames if f["type"] == "run.started"] == [1]
    assert not [f for f in frames if f["type"] == "turn.superseded"]


async def test_the_fence_of_a_run_that_takes_long_is_raised_again(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "FENCE_REFRESH_S", 0.0)
    redis = Redis(redis_url)
    async with running_worker(settings_for(dsn, redis_url, lease_s=2), "test:1:a") as one, await one.person() as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=1 tokens=1 stall_at=0")
        await ada.until("message.delta")
        fence = keys.fence(SessionId(session))
        await redis.command("EXPIRE", fence, TTL_S // 2)

        async def is_raised() -> bool:
            left = await redis.command("TTL", fence)
            return isinstance(left, int) and left > TTL_S // 2

        await eventually_so(is_raised)
    await redis.close()


async def test_who_hears_that_a_run_was_cut_looks_at_its_lease_at_once(dsn: str, redis_url: str) -> None:
    """The agent is silent, so that no write finds out, and the lease is not renewed for minutes."""
    async with (
        running_worker(settings_for(dsn, redis_url, lease_s=600), "test:1:a") as door,
        await door.person() as ada,
    ):
        before = await leases_lost(door)
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=1 tokens=2 rate=0.001")
        await ada.expect("message.delta")
        await ada.ask("message.edit", session=session, message=sent["message"], text="/script turns=1 tokens=1")

        async def is_lost() -> bool:
            return await leases_lost(door) > before

        await eventually_so(is_lost)
