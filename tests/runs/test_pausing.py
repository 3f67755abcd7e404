"""Pausing: between turns, from anywhere, until somebody resumes."""

import pytest

from tests.conftest import running_worker, settings_for
from tests.driver import Door, Refused
from tests.runs.conversation import finish, known, log_of
from tests.runs.test_inputs import answer, asked, status_of, types
from tests.runs.test_sending import room_for

LONG = "/script turns=2 tokens=30 rate=20"  # time to pause in the first turn, also on a busy machine


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_a_run_pauses_after_its_turn_and_goes_on_where_it_was(two_workers: tuple[Door, Door], team: str) -> None:
    one, two = two_workers
    async with await one.person() as here, await two.enter(here.token) as there:
        session = await room_for(here, team)
        sent = await here.say(session, LONG)
        await here.expect("message.delta", turn=0, index=3)
        for person in (there, here):  # as often as one likes
            assert await person.ask("run.pause", session=session) == {"run": sent["run"], "status": "pausing"}
        assert await status_of(one, here, session) == "running"
        paused = await here.expect("session.updated")
        assert (paused["data"]["status"], paused["data"]["role"]) == ("paused", None)
        assert paused["data"]["last_seq"] == paused["seq"]
        assert await status_of(two, there, session) == "paused"
        assert await there.ask("run.pause", session=session) == {"run": sent["run"], "status": "paused"}
        async with one.rest(here.token) as rest:
            assert (await rest.get(f"/v1/runs/{sent['run']}")).json()["status"] == "paused"
        log = await log_of(one, here, session)
        assert types(log, "turn.started", "message.completed") == ["turn.started", "message.completed"]
        assert await there.ask("run.resume", session=session) == {"run": sent["run"], "status": "running"}
        assert (await here.expect("session.updated"))["data"]["status"] == "running"
        assert (await there.ask("run.resume", session=session))["run"] == sent["run"]
        frames = await finish(here, sent["run"])
        assert frames[-1]["data"]["status"] == "completed"
        log = await log_of(one, here, session)
        assert [f["data"]["turn"] for f in log if f["type"] == "turn.started"] == [0, 1]
        assert types(log, "turn.superseded") == []


async def test_a_pause_that_has_not_begun_is_taken_back(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        sent = await ada.say(session, LONG)
        await ada.expect("message.delta", turn=0, index=3)
        assert (await ada.ask("run.pause", session=session))["status"] == "pausing"
        assert (await ada.ask("run.resume", session=session))["status"] == "running"
        frames = await finish(ada, sent["run"])
        assert types(frames, "session.updated") == []
        assert frames[-1]["data"]["status"] == "completed"


async def test_without_a_run_there_is_nothing_to_pause(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        for command in ("run.pause", "run.resume"):
            with pytest.raises(Refused) as error:
                await ada.ask(command, session=session)
            assert error.value.code == "not_found"


async def test_a_run_that_nobody_has_claimed_yet_is_paused_at_once(dsn: str, redis_url: str) -> None:
    gateway = settings_for(dsn, redis_url, role="gateway")
    async with running_worker(gateway, "test:1:a") as door, await door.person() as ada:
        session = await room_for(ada)
        first, second = await ada.say(session, "/script turns=1 tokens=1"), await ada.say(session, "after it")
        assert await ada.ask("run.pause", session=session) == {"run": first["run"], "status": "paused"}
        async with running_worker(settings_for(dsn, redis_url), "test:2:b"):
            assert await ada.ask("run.cancel", session=session, run=second["run"]) == {
                "run": second["run"],
                "status": "cancelled",
            }
            assert await status_of(door, ada, session) == "paused"
            assert await ada.ask("run.resume", session=session) == {"run": first["run"], "status": "running"}
            frames = await finish(ada, first["run"])
            assert [f["data"]["attempt"] for f in frames if f["type"] == "run.started"] == [1]


async def test_a_waiting_run_is_paused_and_waits_on_when_resumed(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session)
        assert (await ada.ask("run.pause", session=session))["status"] == "paused"
        assert (await ada.ask("run.resume", session=session))["status"] == "waiting"
        assert (await ada.ask("run.pause", session=session))["status"] == "paused"
        await answer(ada, request, decision="approve")  # it may be answered, and stays paused
        assert await status_of(hub, ada, session) == "paused"
        assert (await ada.ask("run.resume", session=session))["status"] == "running"
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called", "tool.returned") == ["tool.called", "tool.returned"]
        statuses = [f["data"]["status"] for f in frames if f["type"] == "session.updated"]
        assert statuses == ["paused", "waiting", "paused", "running"]


@pytest.mark.parametrize("how", ["cancel", "interrupt", "delete"])
async def test_a_paused_run_can_be_ended_from_any_worker(two_workers: tuple[Door, Door], how: str) -> None:
    one, two = two_workers
    async with await one.person() as here, await two.enter(here.token) as there, two.rest(here.token) as rest:
        session = await room_for(here)
        sent = await here.say(session, LONG)
        await here.expect("message.delta", turn=0, index=3)
        await there.ask("run.pause", session=session)
        await here.expect("session.updated", status="paused")
        with pytest.raises(Refused) as error:
            await there.say(session, "hello", on_busy="reject")
        assert error.value.code == "busy"
        queued = await there.say(session, "/script turns=1 tokens=1", on_busy="queue")
        match how:
            case "cancel":
                stopped = await there.ask("run.cancel", session=session)
                assert stopped == {"run": sent["run"], "status": "cancelled"}
            case "interrupt":
                await there.say(session, "/script turns=1 tokens=1", on_busy="interrupt")
            case _:
                assert (await rest.delete(f"/v1/sessions/{session}")).status_code == 204
        frames = await finish(here, sent["run"])
        assert frames[-1]["data"]["status"] == "cancelled"
        if how != "delete":
            assert (await finish(here, queued["run"]))[-1]["data"]["status"] == "completed"


async def test_who_may_pause(hub: Door) -> None:
    async with await hub.person("ada") as ada, await hub.person("bob") as bob, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "approver"})
        await asked(ada, session)
        for command in ("run.pause", "run.resume"):
            with pytest.raises(Refused) as error:
                await bob.ask(command, session=session)
            assert error.value.code == "forbidden"


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_what_is_to_steer_a_paused_run_waits_with_it(two_workers: tuple[Door, Door], team: str) -> None:
    """Said before the pause has begun, and while it lasts: the turn after it takes both, once, in their order."""
    one, two = two_workers
    async with await one.person("steering ada") as here, await two.enter(here.token) as there:
        session = await room_for(here, team)
        sent = await here.say(session, "/script turns=2 tokens=20 rate=13")
        await here.expect("message.delta", turn=0, index=3)
        assert (await there.ask("run.pause", session=session))["status"] == "pausing"
        before = await here.say(session, "before", on_busy="steer")
        await here.expect("session.updated", status="paused")
        during = await there.say(session, "during", on_busy="steer")
        assert await status_of(one, here, session) == "paused"
        assert types(await log_of(one, here, session), "message.steered") == []
        assert (await there.ask("run.resume", session=session))["status"] == "running"
        await finish(here, sent["run"])
        log = await log_of(one, here, session)
        steered = [(f["data"]["message"], f["data"]["outcome"]) for f in log if f["type"] == "message.steered"]
        assert steered == [(before["message"], "consumed"), (during["message"], "consumed")]
        assert [f["data"]["turn"] for f in log if f["type"] == "message.completed"] == [0, 1]
        heard = [line.partition(":")[2][:6] for line in await known(here, session)]
        assert heard == ["/scrip", "t0.0 t", "before", "during", "t1.0 t"]


async def test_what_was_to_steer_a_paused_run_that_is_cancelled_gets_a_run_of_its_own(hub: Door) -> None:
    async with await hub.person("cancelling ada") as ada:
        session = await room_for(ada)
        sent = await ada.say(session, LONG)
        await ada.expect("message.delta", turn=0, index=3)
        await ada.ask("run.pause", session=session)
        await ada.expect("session.updated", status="paused")
        left = await ada.say(session, "/script turns=1 tokens=2", on_busy="steer")
        assert (await ada.ask("run.cancel", session=session))["status"] == "cancelled"
        await finish(ada, sent["run"])
        steered = await ada.expect("message.steered", message=left["message"])
        assert steered["data"]["outcome"] == "follow_up"
        queued = await ada.expect("run.queued")
        assert (await finish(ada, queued["run"]))[-1]["data"]["status"] == "completed"
