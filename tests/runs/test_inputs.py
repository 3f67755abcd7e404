"""What a run asks people: durable, answered once, and the call that follows is made once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hub.domain.calls import CallStatus
from hub.domain.ids import SessionId
from hub.runs.requests import UNKNOWN_OUTCOME
from hub.store import calls
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs
from tests.engine.fake_openai import fake_openai
from tests.runs.conversation import finish, known, log_of
from tests.runs.test_sending import room_for

Frame = dict[str, Any]
TEAMS = ["scripted", "scripted-tools"]
TRANSFER = "/script turns=2 tokens=3 tool=transfer key=gold"


async def asked(person: Person, session: str, text: str = TRANSFER) -> tuple[Frame, Frame]:
    """What `message.send` answered, and the request that its run has come to."""
    sent = await person.say(session, text)
    return sent, await person.expect("input.requested")


async def answer(person: Person, request: Frame, **fields: str) -> int:
    result = await person.ask("input.respond", session=request["session"], request=request["data"]["request"], **fields)
    assert result.keys() == {"seq"}
    seq: int = result["seq"]
    return seq


async def refused(person: Person, request: Frame, **fields: str) -> str:
    with pytest.raises(Refused) as error:
        await answer(person, request, **fields)
    return error.value.code


async def status_of(door: Door, person: Person, session: str) -> str:
    async with door.rest(person.token) as rest:
        status: str = (await rest.get(f"/v1/sessions/{session}")).json()["status"]
        return status


def types(frames: list[Frame], *wanted: str) -> list[str]:
    return [f["type"] for f in frames if f["type"] in wanted]


async def counted(store: Store, key: str) -> int:
    async with store.transaction() as db:
        row = await db.connection.fetchval("SELECT value FROM counters WHERE key = $1", key)
        return row or 0


@asynccontextmanager
async def locked_counter(dsn: str, key: str) -> AsyncIterator[None]:
    """Whoever counts this key has to wait."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO counters (key, value) VALUES ($1, 0)", key)
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("team", TEAMS)
async def test_an_approved_call_is_made_once_with_what_was_approved(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        sent, request = await asked(ada, session)
        data = request["data"]
        assert request["run"] == sent["run"]
        assert (data["kind"], data["agent"], data["tool"], data["arguments"]) == (
            "approval",
            "alpha",
            "transfer",
            {"key": "gold"},
        )
        assert data["arguments_sha256"] == hashlib.sha256(b'{"key":"gold"}').hexdigest()
        assert '{"key":"gold"}' in data["prompt"]
        assert data["expires_at"] > request["ts"]
        assert await status_of(hub, ada, session) == "waiting"
        async with hub.rest(ada.token) as rest:
            (waiting,) = (await rest.get(f"/v1/sessions/{session}/inputs")).json()["items"]
            assert (await rest.get(f"/v1/runs/{sent['run']}")).json()["status"] == "waiting"
        assert {name: waiting[name] for name in data} == data
        seq = await answer(ada, request, decision="approve", text="go on")
        frames = await finish(ada, sent["run"])
        resolved = next(f for f in frames if f["type"] == "input.resolved")
        assert resolved["seq"] == seq
        assert resolved["data"] == {
            "request": data["request"],
            "decision": "approve",
            "text": "go on",
            "by": {"id": ada.hello["user"]["id"], "name": "ada"},
        }
        (called,) = [f["data"] for f in frames if f["type"] == "tool.called"]
        assert called == {
            "call": data["call"],
            "agent": "alpha",
            "name": "transfer",
            "arguments": {"key": "gold"},
            "turn": 0,
        }
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert (returned["call"], returned["result"], returned["is_error"]) == (
            data["call"],
            "transferred gold",
            False,
        )
        # The same agent goes on, in the same turn; the next one is the other's.
        said = [f["data"] for f in frames if f["type"] == "message.completed"]
        assert [m["text"] for m in said] == ["t0.0 t0.1 t0.2 ", "t1.0 t1.1 t1.2 "]
        assert [m["author"]["name"] for m in said] == (["alpha", "beta"] if team == "scripted" else ["alpha"] * 2)
        assert frames[-1]["data"]["status"] == "completed"
        log = await log_of(hub, ada, session)
        assert seqs(log) == list(range(1, len(log) + 1))
        assert types(log, "turn.started", "turn.superseded") == ["turn.started"] * 2
        assert [f["data"]["attempt"] for f in log if f["type"] == "run.started"] == [1, 2]
        async with hub.rest(ada.token) as rest:
            assert (await rest.get(f"/v1/sessions/{session}/inputs")).json() == {"items": [], "next": None}


@pytest.mark.parametrize("team", TEAMS)
async def test_a_rejected_call_is_not_made_and_the_team_goes_on(hub: Door, team: str) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, team)
        sent, request = await asked(ada, session)
        await answer(ada, request, decision="reject", text="too much")
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called", "tool.returned", "turn.superseded") == []
        assert frames[-1]["data"]["status"] == "completed"
        assert types(frames, "message.completed") == ["message.completed"] * 2


@pytest.mark.parametrize("team", TEAMS)
async def test_a_question_is_answered_in_words(hub: Door, team: str) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, team)
        sent, request = await asked(ada, session, "/script turns=1 tokens=2 tool=ask_person key=Really?")
        assert (request["data"]["kind"], request["data"]["prompt"]) == ("question", "Really?")
        assert await refused(ada, request) == "bad_request"
        assert await refused(ada, request, decision="approve") == "bad_request"
        seq = await answer(ada, request, text="yes, really")
        frames = await finish(ada, sent["run"])
        resolved = next(f["data"] for f in frames if f["type"] == "input.resolved")
        assert (resolved["decision"], resolved["text"]) == (None, "yes, really")
        assert types(frames, "tool.called", "tool.returned") == []
        assert await answer(ada, request, text="yes, really") == seq
        assert await refused(ada, request, text="no") == "conflict"


async def test_a_question_may_be_declined(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session, "/script turns=1 tokens=1 tool=ask_person key=Why?")
        await answer(ada, request, decision="reject")
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"


async def test_a_call_with_a_side_effect_is_recorded_before_and_after(hub: Door, store: Store) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent = await ada.say(session, "/script turns=1 tokens=2 tool=counter key=once")
        frames = await finish(ada, sent["run"])
        wanted = ("run.started", "turn.started", "tool.called", "tool.returned", "message.completed", "run.finished")
        assert types(frames, *wanted, "turn.superseded", "input.requested") == list(wanted)
        assert next(f["data"] for f in frames if f["type"] == "tool.returned")["result"] == "1"
        assert await counted(store, "once") == 1
        assert (await known(ada, session))[-1] == "alpha:t0.0 t0.1 "


async def test_a_run_is_stopped_in_the_middle_of_a_call(hub: Door, store: Store, dsn: str) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        async with locked_counter(dsn, "stopped"):
            sent = await ada.say(session, "/script turns=1 tokens=1 tool=counter key=stopped")
            await ada.expect("tool.called")
            asked_at = asyncio.get_running_loop().time()
            assert (await ada.ask("run.cancel", session=session))["status"] == "cancelling"
            ended = await ada.expect("run.finished")
            assert asyncio.get_running_loop().time() - asked_at < 15
            assert (ended["run"], ended["data"]["status"]) == (sent["run"], "cancelled")
        assert await counted(store, "stopped") == 0
        async with store.transaction() as db:
            (left,) = await calls.of_session(db, SessionId(session))
        assert left.status is CallStatus.CALLED
        assert len(await known(ada, session)) == 1  # the next run has a state to begin with
        async with store.transaction() as db:
            assert await calls.of_session(db, SessionId(session)) == []
            state = await db.connection.fetchval("SELECT state FROM checkpoints ORDER BY seq DESC LIMIT 1")
        assert UNKNOWN_OUTCOME in state


async def test_who_may_answer(hub: Door) -> None:
    async with (
        await hub.person("ada") as ada,
        await hub.person("bob") as bob,
        await hub.person("eve") as eve,
        hub.rest(ada.token) as rest,
    ):
        session = await room_for(ada)
        await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "viewer"})
        sent, request = await asked(ada, session)
        assert await refused(bob, request, decision="approve") == "forbidden"
        assert await refused(eve, request, decision="approve") == "not_found"
        async with hub.rest(eve.token) as hers, hub.rest(bob.token) as his:
            assert (await hers.get(f"/v1/sessions/{session}/inputs")).status_code == 404
            url = f"/v1/sessions/{session}/inputs/{request['data']['request']}"
            assert (await hers.post(url, json={"decision": "approve"})).status_code == 404
            assert (await his.post(url, json={"decision": "approve"})).status_code == 403
            assert len((await his.get(f"/v1/sessions/{session}/inputs")).json()["items"]) == 1
            await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "approver"})
            assert (await his.post(url, json={})).status_code == 400
            approved = await his.post(url, json={"decision": "approve"})
            assert approved.status_code == 200, approved.text
        resolved = await ada.expect("input.resolved")
        assert approved.json() == {"seq": resolved["seq"]}
        assert resolved["data"]["by"]["name"] == "bob"
        await finish(ada, sent["run"])


async def test_answers_that_come_too_often_or_go_astray(hub: Door) -> None:
    async with await hub.person() as ada:
        session, other = await room_for(ada), await room_for(ada)
        sent, request = await asked(ada, session)
        for unknown in ("nonsense", "0190b5a0-0000-7000-8000-000000000000"):
            with pytest.raises(Refused) as error:
                await ada.ask("input.respond", session=session, request=unknown, decision="approve")
            assert error.value.code == "not_found"
        with pytest.raises(Refused) as error:
            await ada.ask("input.respond", session=other, request=request["data"]["request"], decision="approve")
        assert error.value.code == "not_found"
        assert await refused(ada, request) == "bad_request"
        assert await refused(ada, request, decision="perhaps") == "bad_request"
        racing = await asyncio.gather(*(answer(ada, request, decision="approve") for _ in range(5)))
        assert len(set(racing)) == 1
        assert await refused(ada, request, decision="reject") == "conflict"
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called") == ["tool.called"]
        assert await answer(ada, request, decision="approve") == racing[0]
        assert await refused(ada, request, decision="reject") == "conflict"


async def test_stopping_a_waiting_run_ends_it_at_once_and_what_it_asked_is_void(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person() as here, await two.enter(here.token) as there:
        session = await room_for(here, "scripted-tools")
        sent, request = await asked(here, session)
        stopped = await there.ask("run.cancel", session=session)
        assert stopped == {"run": sent["run"], "status": "cancelled"}
        ended = await here.expect("run.finished")
        assert (ended["data"]["status"], ended["data"]["reason"]) == ("cancelled", "cancelled")
        assert await refused(here, request, decision="approve") == "conflict"
        async with one.rest(here.token) as rest:
            assert (await rest.get(f"/v1/sessions/{session}/inputs")).json()["items"] == []
        assert await status_of(one, here, session) == "idle"
        assert await known(here, session) == [f"{here.hello['user']['name'][:48]}:{TRANSFER[:20]}"]


async def test_a_message_while_a_run_waits_follows_on_busy(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        first, request = await asked(ada, session)
        with pytest.raises(Refused) as error:
            await ada.say(session, "hello", on_busy="reject")
        assert error.value.code == "busy"
        queued = await ada.say(session, "/script turns=1 tokens=1", on_busy="queue")
        steering = await ada.say(session, "by the way", on_busy="steer")
        await answer(ada, request, decision="approve")
        frames = await finish(ada, queued["run"])
        assert [f["run"] for f in frames if f["type"] == "run.finished"] == [first["run"], queued["run"]]
        taken = next(f for f in frames if f["type"] == "message.steered")
        assert taken["data"] == {"message": steering["message"], "outcome": "consumed", "turn": 1}
        second, request = await asked(ada, session)
        third = await ada.say(session, "/script turns=1 tokens=1", on_busy="interrupt")
        frames = await finish(ada, third["run"])
        ended = {f["run"]: f["data"] for f in frames if f["type"] == "run.finished"}
        assert (ended[second["run"]]["status"], ended[second["run"]]["reason"]) == ("cancelled", "interrupted")
        assert ended[third["run"]]["status"] == "completed"
        assert await refused(ada, request, decision="approve") == "conflict"


async def test_a_deleted_session_waits_for_nobody(hub: Door) -> None:
    async with await hub.person() as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        _, request = await asked(ada, session)
        assert (await rest.delete(f"/v1/sessions/{session}")).status_code == 204
        await ada.expect("run.finished", status="cancelled")
        assert await refused(ada, request, decision="approve") == "not_found"


async def test_arguments_that_are_not_those_approved_are_not_used(hub: Door, store: Store) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session)
        async with store.transaction() as db:
            await db.connection.execute("""UPDATE tool_calls SET arguments = '{"key":"everything"}'""")
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert returned["is_error"]
        assert "everything" not in returned["result"]


@asynccontextmanager
async def hasty(dsn: str, redis_url: str) -> AsyncIterator[Door]:
    async with running_worker(settings_for(dsn, redis_url, input_expires_s=0.2), "test:1:hasty") as door:
        yield door


async def test_what_nobody_answers_in_time_is_refused(dsn: str, redis_url: str) -> None:
    async with hasty(dsn, redis_url) as hub, await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session)
        resolved = await ada.expect("input.resolved")
        assert resolved["data"] == {
            "request": request["data"]["request"],
            "decision": "reject",
            "text": "expired",
            "by": {"id": "hub", "name": "hub"},
        }
        assert await refused(ada, request, decision="approve") == "conflict"
        assert await refused(ada, request, decision="reject") == "conflict"
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called") == []
        assert frames[-1]["data"]["status"] == "completed"


async def test_an_answer_after_the_time_is_refused_though_nobody_has_looked_at_the_clock(hub: Door, dsn: str) -> None:
    """The answer waits for the session when the time passes: it is before what refuses what has expired."""
    connection = await asyncpg.connect(dsn)
    try:
        async with await hub.person() as ada, asyncio.TaskGroup() as tasks:
            session = await room_for(ada, "scripted-tools")
            sent, request = await asked(ada, session)
            async with connection.transaction():
                await connection.execute("SELECT FROM sessions WHERE id = $1 FOR UPDATE", session)
                answering = tasks.create_task(refused(ada, request, decision="approve"))
                waiting = (
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%sessions%'"
                )
                async with asyncio.timeout(30):
                    while not await connection.fetchval(f"{waiting} AND datname = current_database()"):
                        await asyncio.sleep(0.01)
                        await connection.execute("SELECT pg_stat_clear_snapshot()")
                passed = "UPDATE input_requests SET expires_at = now() - interval '1 hour' WHERE session_id = $1"
                await connection.execute(passed, session)
            assert await answering == "conflict"
            frames = await finish(ada, sent["run"])
            assert [f["data"]["text"] for f in frames if f["type"] == "input.resolved"] == ["expired"]
            assert types(frames, "tool.called") == []
    finally:
        await connection.close()


async def test_a_request_outlives_every_worker(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url)
    async with running_worker(settings, "test:1:a") as first:
        ada = await first.person()
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session)
        await ada.socket.close()
    async with running_worker(settings, "test:2:b") as second, await second.enter(ada.token) as back:
        assert await status_of(second, back, session) == "waiting"
        await back.ask("session.join", session=session, after_seq=request["seq"])
        await answer(back, request, decision="approve")
        frames = await finish(back, sent["run"])
        assert types(frames, "tool.called", "tool.returned") == ["tool.called", "tool.returned"]
        assert next(f["data"]["node"] for f in frames if f["type"] == "run.started") == "test:2:b"


TEAM = """
name: bank
description: Asks for everything at once.
kind: round_robin
agents:
  - name: teller
    tools: [clock, counter, transfer]
limits:
  max_turns: 1
"""


async def test_calls_that_need_nobody_are_made_while_others_wait(dsn: str, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "bank.yaml").write_text(TEAM)
    async with fake_openai() as fake:
        settings = settings_for(
            dsn, redis_url, teams_dir=tmp_path, default_model="openai", openai_base_url=fake.url, openai_model="mixed"
        )
        async with running_worker(settings) as hub, await hub.person() as ada:
            session = await room_for(ada, "bank")
            sent, request = await asked(ada, session, "Do it")
            assert request["data"]["tool"] == "transfer"
            assert (await ada.expect("tool.returned", result="2"))["data"]["name"] == "counter"
            await answer(ada, request, decision="approve")
            frames = await finish(ada, sent["run"])
            assert frames[-1]["data"]["status"] == "completed", frames[-1]
            log = await log_of(hub, ada, session)
            called = [f["data"]["name"] for f in log if f["type"] == "tool.called"]
            assert called == ["clock", "counter", "counter", "transfer"]
            assert len({f["data"]["call"] for f in log if f["type"] == "tool.returned"}) == 4
            # The model reads what came of each where it asked for it.
            told = [m["content"] for m in fake.requests[-1]["messages"] if m["role"] == "tool"]
            assert [told[0], told[1], told[3]] == ["transferred m", "1", "2"]
