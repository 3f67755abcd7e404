"""Leases: kept as long as a run takes, however short they are."""

from tests.conftest import running_worker, settings_for
from tests.runs.test_sending import room_for


async def test_a_run_of_several_short_leases_is_not_taken_over(dsn: str, redis_url: str) -> None:
    async with (
        running_worker(settings_for(dsn, redis_url, lease_s=1), "test:1:a") as one,
        running_worker(settings_for(dsn, redis_url, lease_s=1), "test:2:b"),
        await one.person() as ada,
    ):
        session = await room_for(ada)
        await ada.say(session, "/script turns=1 tokens=50 rate=20")
        frames = await ada.until("run.finished", status="completed")
    assert [f["data"]["attempt"] for f in frames if f["type"] == "run.started"] == [1]
    assert not [f for f in frames if f["type"] == "turn.superseded"]
