"""Runs: stopped from anywhere, ended exactly once, taken over when their worker is gone."""

import asyncio

import pytest

from hub.store import leases
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.driver import DEADLINE_S, Door, Refused, seqs, streamed
from tests.runs.conversation import known
from tests.runs.test_sending import room_for


async def test_stop_works_on_another_worker_and_keeps_the_partial_text(two_workers: tuple[Door, Door]) -> None:
    one, two = two_workers
    async with await one.person() as here, await two.enter(here.token) as there:
        session = await room_for(here)
        await there.ask("session.join", session=session, after_seq=0)
        sent = await here.say(session, "/script turns=2 tokens=2000 rate=100")
        await there.expect("message.delta", index=5)
        stopped = await there.ask("run.cancel", session=session)
        assert stopped == {"run": sent["run"], "status": "cancelling"}
        frames = await here.until("run.finished")
        after = await there.until("run.finished")
        assert frames[-1]["data"]["status"] == "cancelled"
        assert frames[-1]["seq"] == after[-1]["seq"]
        partial = next(f for f in frames if f["type"] == "message.completed")
        assert partial["data"]["status"] == "interrupted"
        assert streamed(frames, partial["data"]["message"]) == partial["data"]["text"]
        again = await here.ask("run.cancel", session=session, run=sent["run"])
        assert again["status"] == "cancelled"
        with pytest.raises(Refused) as refused:
            await here.ask("run.cancel", session=session)
        assert refused.value.code == "not_found"


async def test_a_queued_run_is_cancelled_at_once(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        first = await ada.say(session, "/script turns=1 tokens=500 rate=100")
        second = await ada.say(session, "never said")
        assert await ada.ask("run.cancel", session=session, run=second["run"]) == {
            "run": second["run"],
            "status": "cancelled",
        }
        ended = await ada.expect("run.finished", input_seq=second["seq"])
        assert ended["data"]["status"] == "cancelled"
        await ada.ask("run.cancel", session=session)
        await ada.expect("run.finished", input_seq=first["seq"])


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_a_failing_model_ends_the_run_with_a_code(hub: Door, team: str) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, team)
        await ada.say(session, "/script turns=1 tokens=10 fail_at=4")
        frames = await ada.until("run.finished")
        failed = frames[-1]["data"]
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "model_unavailable"
        assert "Traceback" not in str(frames)
        await ada.say(session, "/script turns=1 tokens=2")
        assert (await ada.expect("run.finished"))["data"]["status"] == "completed"


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_the_team_remembers_earlier_runs(hub: Door, team: str) -> None:
    async with await hub.person("ada") as ada:
        session = await room_for(ada, team)
        await ada.say(session, "first words")
        await ada.expect("run.finished")
        await ada.say(session, "/script history")
        told = await ada.expect("message.completed", turn=0, status="complete")
        while "history" not in told["data"]["text"] and not told["data"]["text"][0].isdigit():
            told = await ada.expect("message.completed", turn=0, status="complete")
        lines = told["data"]["text"].splitlines()
        assert lines[1].startswith("ada:first words")
        assert [line.split(":")[0] for line in lines[1:]] == ["ada", "alpha", "beta", "ada"]
        assert lines[0] == "4"


async def test_a_closed_tab_stops_nothing(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=1 tokens=60 rate=20")
        await ada.expect("message.delta", index=2)
    async with await hub.enter(ada.token) as again:
        await again.ask("session.join", session=session, after_seq=0)
        frames = await again.until("run.finished")
        assert frames[-1]["data"]["status"] == "completed"
        assert seqs(frames) == list(range(1, len(seqs(frames)) + 1))
        snapshot = next((f for f in frames if f["type"] == "message.snapshot"), None)
        assert snapshot is not None
        text = next(f for f in frames if f["type"] == "message.completed")["data"]["text"]
        assert text.startswith(snapshot["data"]["text"])
        rest = [f for f in frames if f["type"] == "message.delta"]
        assert snapshot["data"]["text"] + "".join(d["data"]["text"] for d in rest) == text
        assert not rest or rest[0]["data"]["index"] == snapshot["data"]["index"]  # a slow machine is told the whole


async def test_a_lost_lease_stops_its_holder_and_the_turn_is_done_again(hub: Door, store: Store) -> None:
    """Another runner gets the run in mid-turn, as when this worker is frozen, and is lost at once in its turn."""
    async with await hub.person() as ada:
        before = await leases_lost(hub)
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=2 tokens=100 rate=50")
        await ada.expect("message.delta", index=5)
        async with store.transaction() as db:
            await db.connection.execute("UPDATE runs SET lease_until = clock_timestamp() - interval '1 second'")
            (other,) = await leases.claim(db, node="lost:1:x", limit=1, lease_s=0)
        assert other.attempt == 2
        void = await ada.expect("turn.superseded", turn=0, attempt=1)
        started = await ada.expect("run.started", attempt=3)
        assert started["run"] == sent["run"]
        await ada.expect("run.finished", status="completed")
        assert [f["type"] for f in ada.seen].count("run.finished") == 1
        completed = [f["data"] for f in ada.seen if f["type"] == "message.completed"]
        assert [c["text"] for c in completed] == ["".join(f"t{t}.{i} " for i in range(100)) for t in (0, 1)]
        first = next(f["data"]["message"] for f in ada.seen if f["type"] == "message.delta")
        assert void["data"]["messages"] == [first]
        assert first not in [c["message"] for c in completed]
        async with asyncio.timeout(DEADLINE_S):
            while await leases_lost(hub) <= before:  # noqa: ASYNC110 - counted when its holder has left it
                await asyncio.sleep(0.05)
        assert seqs(ada.seen) == list(range(1, len(seqs(ada.seen)) + 1))


async def leases_lost(hub: Door) -> float:
    async with hub.rest() as rest:
        text = (await rest.get("/metrics")).text
    return float(next(line for line in text.splitlines() if line.startswith("hub_leases_lost_total")).split()[-1])


async def test_a_drained_worker_hands_its_run_over_between_turns(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url)
    async with (
        running_worker(settings_for(dsn, redis_url, role="gateway"), "test:1:a") as stays,
        await stays.person() as ada,
    ):
        session = await room_for(ada)
        async with running_worker(settings, "test:2:b") as leaves:
            guest = await leaves.enter(ada.token)
            await guest.ask("session.join", session=session)
            await ada.say(session, "/script turns=3 tokens=60 rate=35")
            started = await ada.expect("run.started", attempt=1)
            assert started["data"]["node"] == "test:2:b"
            await ada.expect("message.delta", turn=0, index=3)
        assert (await guest.expect("server.draining"))["data"]["reconnect_after_ms"] >= 0
        assert await guest.closed() == 4000
        async with running_worker(settings, "test:3:c"):
            resumed = await ada.expect("run.started", attempt=2)
            assert resumed["data"]["node"] == "test:3:c"
            await ada.expect("run.finished", status="completed")
        completed = [f["data"]["turn"] for f in ada.seen if f["type"] == "message.completed"]
        assert completed == [0, 1, 2]
        assert not [f for f in ada.seen if f["type"] == "turn.superseded"]


async def test_deleting_a_session_ends_its_run_and_its_members_see_it(hub: Door) -> None:
    async with await hub.person("ada") as ada, await hub.person("bob") as bob:
        session = await room_for(ada)
        async with hub.rest(ada.token) as rest:
            assert (await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "viewer"})).status_code == 200
            await bob.ask("session.join", session=session)
            await ada.say(session, "/script turns=1 tokens=1000 rate=100")
            await bob.expect("message.delta", index=3)
            assert (await rest.delete(f"/v1/sessions/{session}")).status_code == 204
        await bob.expect("run.finished", status="cancelled")
        await bob.expect("member.removed", name="bob")
        for person in (ada, bob):
            with pytest.raises(Refused) as refused:
                await person.ask("session.join", session=session)
            assert refused.value.code == "not_found"


async def test_many_sessions_run_at_once(hub: Door) -> None:
    async with await hub.person() as ada:
        sessions = [await room_for(ada) for _ in range(30)]
        await asyncio.gather(
            *(ada.tell("message.send", session=s, text="/script turns=2 tokens=20", client_id="c") for s in sessions)
        )
        finished: set[str] = set()
        while len(finished) < len(sessions):
            frame = await ada.next_frame("run.finished")
            if frame["type"] == "run.finished":
                assert frame["data"]["status"] == "completed"
                finished.add(frame["session"])
        for session in sessions:
            assert seqs([f for f in ada.seen if f.get("session") == session]) == list(range(1, 11))


async def test_nobody_speaks_under_a_name_that_models_obey(hub: Door) -> None:
    for name in ("alpha", "Beta", "orchestrator", "MagenticOneOrchestrator", "Summary", "ada"):
        async with await hub.person(name) as person:
            session = await room_for(person)
            await person.say(session, "/script turns=1 tokens=1")
            await person.expect("run.finished")
            told, *_ = await known(person, session)
            assert told == f"{'' if name == 'ada' else 'user_'}{name}:/script turns=1 toke"
