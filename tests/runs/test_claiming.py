"""What a runner finds to do when it is told little: one notice for many runs, none for a lost one."""

import pytest

from hub.runs import executor
from hub.store import leases
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.runs.test_sending import room_for

HOURS_S = 7200.0


async def test_who_has_claimed_as_many_as_at_once_looks_again_at_once(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "BATCH", 1)
    monkeypatch.setattr(executor, "POLL_S", HOURS_S)
    gateway, runner = (settings_for(dsn, redis_url, role=role, grace_s=1) for role in ("gateway", "runner"))
    async with running_worker(gateway, "test:1:a") as door, await door.person() as ada:
        sessions = [await room_for(ada) for _ in range(4)]
        for session in sessions[:3]:
            await ada.say(session, "/script turns=1 tokens=1 stall_at=0")
        async with running_worker(runner, "test:2:b"):
            await ada.say(sessions[3], "/script turns=1 tokens=1 stall_at=0")
            assert {(await ada.expect("run.started"))["session"] for _ in sessions} == set(sessions)
        assert not any(frame["type"] == "run.finished" for frame in ada.seen)  # which makes a runner look, too


async def test_a_lost_run_is_found_soon_when_a_claim_was_too_early_to_look_for_it(
    dsn: str, redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "LOST_S", 1.0)
    monkeypatch.setattr(executor, "POLL_S", HOURS_S)
    gateway, runner = (settings_for(dsn, redis_url, role=role, grace_s=1) for role in ("gateway", "runner"))
    async with running_worker(gateway, "test:1:a") as door, await door.person() as ada:
        lost, first, second = [await room_for(ada) for _ in range(3)]
        await ada.say(lost, "/script turns=1 tokens=1")
        async with store.transaction() as db:
            assert await leases.claim(db, node="lost:1:x", limit=1, lease_s=HOURS_S)
        async with running_worker(runner, "test:2:b"):
            await ada.say(first, "/script turns=1 tokens=1 stall_at=0")  # claimed with a look for lost ones
            await ada.expect("run.started")
            async with store.transaction() as db:
                await db.connection.execute(
                    "UPDATE runs SET lease_until = clock_timestamp() WHERE lease_node LIKE 'lost:%'"
                )
            await ada.say(second, "/script turns=1 tokens=1 stall_at=0")  # claimed too soon after that
            assert (await ada.expect("run.finished"))["session"] == lost
