"""Runners that are killed outright while a run waits, is paused, or is in the middle of a tool call.

Sockets are held by a gateway of this process, which lives on; the runners are processes, named by `run.started`.
"""

import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hub.domain.ids import RunId, SessionId
from hub.engine.base import MessageEnded
from hub.protocol.durable import TurnSupersededData
from hub.protocol.frames import NewEvent
from hub.protocol.pieces import AgentAuthor
from hub.relay import keys, open_messages
from hub.store import log
from hub.store.database import Store
from tests import kinds
from tests.conftest import Cluster, running_worker, settings_for, short_dir
from tests.driver import Door, Person, Refused, seqs
from tests.engine.driving import catalog, whole_run
from tests.process.serving import SECRET, serving
from tests.relay.wiring import ask as ask_redis
from tests.runs.conftest import GRAPH
from tests.runs.conversation import finish, known, log_of, transcript
from tests.runs.test_inputs import answer, asked, counted, locked_counter, types
from tests.runs.test_sending import room_for

Frame = dict[str, Any]


@pytest.fixture(scope="module")
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a team of another framework's, and one of every kind."""
    folder = tmp_path_factory.mktemp("teams")
    (folder / "drafts.yaml").write_text(GRAPH.replace("runnable: graph", "runnable: slow"))
    for kind in kinds.SHAPES:
        (folder / f"{kind}.yaml").write_text(kinds.source(kind))
    return folder


@pytest.fixture(scope="module")
def runners(dsn: str, valkey_server: str, teams: Path) -> Iterator[None]:
    """Two runners, under a supervisor that starts a killed one anew."""
    folder = short_dir()
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": valkey_server, "HUB_SECRET_KEYS": SECRET, "HUB_LEASE_S": "2"}
    outside |= {"HUB_TEAMS_DIR": str(teams), "HUB_RUNNABLES": "tests.engine.some_runnables"}
    with serving(folder / "data", "--workers", "2", "--role", "runner", **outside):
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def gateway(runners: None, dsn: str, valkey_server: str, teams: Path) -> AsyncIterator[Door]:
    more: dict[str, Any] = {"teams_dir": teams, "runnables": ("tests.engine.some_runnables",)}
    async with running_worker(settings_for(dsn, valkey_server, role="gateway", **more), "test:1:gateway") as door:
        yield door


def kill(started: Frame) -> None:
    """Kill the worker that said so."""
    os.kill(int(started["data"]["node"].split(":")[1]), signal.SIGKILL)


async def lost_call(ada: Person, dsn: str, key: str) -> tuple[str, Frame, Frame, Frame]:
    """A session whose runner was killed in a call: its run, what was called, and what is asked about it."""
    session = await room_for(ada, "scripted-tools")
    async with locked_counter(dsn, key):
        sent = await ada.say(session, f"/script turns=2 tokens=3 tool=counter key={key}")
        started = await ada.expect("run.started", attempt=1)
        called = await ada.expect("tool.called")
        kill(started)
    return session, sent, called, await ada.expect("input.requested")


async def test_a_call_that_was_lost_is_made_again_when_a_person_says_so(gateway: Door, store: Store, dsn: str) -> None:
    async with await gateway.person() as ada:
        session, sent, called, request = await lost_call(ada, dsn, "again")
        assert request["data"]["kind"] == "retry"
        assert (request["data"]["call"], request["data"]["tool"]) == (called["data"]["call"], "counter")
        assert '{"key":"again"}' in request["data"]["prompt"]
        await answer(ada, request, decision="approve")
        frames = await finish(ada, sent["run"])
        (again,) = [f["data"] for f in frames if f["type"] == "tool.called"]
        assert again["call"] != called["data"]["call"]
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert (returned["call"], returned["result"]) == (again["call"], "1")
        assert await counted(store, "again") == 1
        said = [f["data"]["text"] for f in frames if f["type"] == "message.completed"]
        assert said == ["t0.0 t0.1 t0.2 ", "t1.0 t1.1 t1.2 "]
        log = await log_of(gateway, ada, session)
        assert seqs(log) == list(range(1, len(log) + 1))
        assert types(log, "turn.superseded") == []  # nothing was shown that is not in the checkpoint


async def test_a_call_that_was_lost_is_left_alone_when_a_person_says_so(gateway: Door, store: Store, dsn: str) -> None:
    async with await gateway.person() as ada:
        session, sent, called, request = await lost_call(ada, dsn, "alone")
        await answer(ada, request, decision="reject")
        frames = await finish(ada, sent["run"])
        assert types(frames, "tool.called") == []
        (returned,) = [f["data"] for f in frames if f["type"] == "tool.returned"]
        assert (returned["call"], returned["is_error"]) == (called["data"]["call"], True)
        assert "unknown" in returned["result"]
        assert frames[-1]["data"]["status"] == "completed"
        assert await counted(store, "alone") == 0
        assert (await known(ada, session))[-1] == "alpha:t1.0 t1.1 t1.2 "


# Longer than the lease and what passes between two renewals: one that was asked for before the COMMIT, waited for its
# lock and is answered together with it extends the lease from when it was asked for.
SLOW_RECORD = """
CREATE FUNCTION slow_record() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3.7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_record AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.type = 'tool.called') EXECUTE FUNCTION slow_record();
"""
FAST_RECORD = "DROP TRIGGER slow_record ON events; DROP FUNCTION slow_record()"


async def test_a_call_whose_record_took_longer_than_the_lease_is_not_made(
    gateway: Door, store: Store, dsn: str
) -> None:
    """The COMMIT of the record lasts longer than the lease: whoever waited for it may not call any more."""
    async with await gateway.person() as ada:
        session = await room_for(ada, "scripted-tools")
        database = await asyncpg.connect(dsn)
        await database.execute(SLOW_RECORD)
        try:
            sent = await ada.say(session, "/script turns=1 tokens=3 tool=counter key=slow")
            request = await ada.expect("input.requested", kind="retry")
            await answer(ada, request, decision="approve")
            request = await ada.expect("input.requested", kind="retry")
        finally:
            await database.execute(FAST_RECORD)
            await database.close()
        assert await counted(store, "slow") == 0
        await answer(ada, request, decision="approve")
        await finish(ada, sent["run"])
        assert await counted(store, "slow") == 1


async def test_what_came_of_a_call_outlives_the_runner_that_made_it(gateway: Door, store: Store) -> None:
    async with await gateway.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent = await ada.say(session, "/script turns=1 tokens=60 rate=25 tool=counter key=kept")
        started = await ada.expect("run.started", attempt=1)
        first = await ada.expect("message.delta", index=3)
        kill(started)
        void = await ada.expect("turn.superseded")
        assert void["data"]["messages"] == [first["data"]["message"]]
        await finish(ada, sent["run"])
        log = await log_of(gateway, ada, session)
        assert types(log, "tool.called", "tool.returned") == ["tool.called", "tool.returned"]
        assert await counted(store, "kept") == 1
        (said,) = [f["data"] for f in log if f["type"] == "message.completed"]
        assert said["text"] == "".join(f"t0.{n} " for n in range(60))


async def leave_open(redis_url: str, completed: Frame) -> bytes:
    """As when Redis was away while the message ended: it still has it as open. Gives where."""
    data, session = completed["data"], completed["session"]
    author = AgentAuthor(name=data["author"]["name"], display_name=data["author"]["display_name"])
    kept = open_messages.whole(completed["run"], data["turn"], author, 1, data["text"], 1)
    name: bytes = keys.text_prefix(session) + data["message"].encode()
    await ask_redis(redis_url, "SET", name, kept)
    await ask_redis(redis_url, "SADD", keys.open_messages(session), name)
    return name


async def test_what_redis_still_holds_open_and_is_finished_is_not_void(gateway: Door, valkey_server: str) -> None:
    async with await gateway.person() as ada:
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=2 tokens=40 rate=20")
        started = await ada.expect("run.started", attempt=1)
        finished = await ada.expect("message.completed", turn=0)
        name = await leave_open(valkey_server, finished)
        open_ = await ada.expect("message.delta", turn=1, index=3)
        kill(started)
        void = await ada.expect("turn.superseded")
        assert void["data"]["messages"] == [open_["data"]["message"]]
        await finish(ada, sent["run"])
        told = [message["text"][:5] for message in await transcript(gateway, ada, session)]
        assert told == ["/scri", "t0.0 ", "t1.0 "]
        assert await ask_redis(valkey_server, "EXISTS", name) == 0


async def test_a_turn_that_was_void_is_announced_again_after_its_calls(gateway: Door, store: Store) -> None:
    """A runner was lost after it had said that the turn is void, and before it began it again: what the next one shows
    of it must be void, too, when that one is lost."""
    async with await gateway.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session, "/script turns=1 tokens=60 rate=25 tool=transfer key=void")
        void = TurnSupersededData(turn=0, attempt=1, messages=[], reason="the worker that ran this turn was lost")
        async with store.transaction() as db:
            await log.append(db, SessionId(session), [NewEvent(void, RunId(sent["run"]))])
        await answer(ada, request, decision="approve")
        started = await ada.expect("run.started", attempt=2)
        await ada.expect("turn.started", turn=0, attempt=2)
        shown = await ada.expect("message.delta", index=3)
        kill(started)
        again = await ada.expect("turn.superseded", attempt=2)
        assert again["data"]["messages"] == [shown["data"]["message"]]
        await finish(ada, sent["run"])


async def test_a_safe_call_is_simply_repeated(gateway: Door) -> None:
    async with await gateway.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent = await ada.say(session, "/script turns=1 tokens=40 rate=20 tool=clock")
        started = await ada.expect("run.started", attempt=1)
        await ada.expect("message.delta", index=3)
        kill(started)
        await ada.expect("turn.superseded")
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"
        log = await log_of(gateway, ada, session)
        assert types(log, "tool.called", "tool.returned", "input.requested") == ["tool.called", "tool.returned"] * 2


async def test_an_approval_and_a_pause_outlive_the_runners(gateway: Door) -> None:
    async with await gateway.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent, request = await asked(ada, session, "/script turns=3 tokens=20 rate=15 tool=transfer key=gold")
        kill(await ada.expect("run.started", attempt=1))
        await answer(ada, request, decision="approve")
        again = await ada.expect("run.started", attempt=2)
        await ada.expect("message.delta", turn=0, index=2)
        assert (await ada.ask("run.pause", session=session))["status"] == "pausing"
        await ada.expect("session.updated", status="paused")
        kill(again)
        assert (await ada.ask("run.pause", session=session))["status"] == "paused"
        assert await ada.ask("run.resume", session=session) == {"run": sent["run"], "status": "running"}
        await finish(ada, sent["run"])
        log = await log_of(gateway, ada, session)
        assert types(log, "tool.called", "tool.returned", "turn.superseded") == ["tool.called", "tool.returned"]
        assert [f["data"]["turn"] for f in log if f["type"] == "turn.started"] == [0, 1, 2]
        assert [f["data"]["turn"] for f in log if f["type"] == "message.completed"] == [0, 1, 2]
        assert [f["data"]["attempt"] for f in log if f["type"] == "run.started"] == [1, 2, 3]


async def test_a_graph_of_langgraphs_says_after_a_kill_what_it_would_have_said(gateway: Door) -> None:
    async with await gateway.person() as ada:
        session = await room_for(ada, "drafts")
        said = []
        for killed in (False, True):
            sent = await ada.say(session, "go on and on and on and on")
            started = await ada.expect("run.started", attempt=1)
            if killed:
                await ada.expect("message.delta")
                kill(started)
                void = await ada.expect("turn.superseded")
                assert void["data"]["turn"] == 0
            frames = await finish(ada, sent["run"])
            assert frames[-1]["data"]["status"] == "completed"
            said.append([f["data"] for f in frames if f["type"] == "message.completed"][-1]["text"])
        # It knows exactly what was said before, and what it said itself, once.
        words = f"{ada.hello['user']['name']}:go on and on and on and on"
        assert said == [f"slow 1 {words}", f"slow 3 {words}"]


PACE = " rate=25"
PLAYED = f"/script turns=3 tokens=30{PACE}"
TOOLS = {"swarm": "transfer_to_beta"}


async def undisturbed(kind: str) -> tuple[list[tuple[str, str]], list[str]]:
    """What the team says to two messages when nothing happens to it, to the first with who says it."""
    team = kinds.team(kind)
    engine = catalog(teams=[team]).engine(team)
    told, results = await whole_run(engine, team, f"{PLAYED} tool={TOOLS.get(kind, 'clock')}".replace(PACE, ""))
    after, _ = await whole_run(engine, team, "/script turns=1 history", state=results[-1].state)
    said = [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]
    return said, after.texts


async def test_a_team_of_every_kind_says_after_kills_what_it_would_have_said(gateway: Door) -> None:
    """All runners are killed while all runs are inside a turn, and again when a turn of one has just ended."""
    async with await gateway.person("bob") as bob:
        sessions = {await room_for(bob, f"kind_{kind}"): kind for kind in kinds.SHAPES}
        runs = {
            (await bob.say(session, f"{PLAYED} tool={TOOLS.get(kind, 'clock')}"))["run"]: session
            for session, kind in sessions.items()
        }
        heard = {run for run, session in runs.items() if sessions[session] != "society"}  # whose turn is not shown
        nodes, inside, finished = dict[str, Frame](), set[str](), set[str]()
        kills = 0
        while len(finished) < len(runs):
            frame = await bob.next_frame("the end of all runs")
            match frame["type"], frame.get("data", {}):
                case "run.started", started:
                    nodes[started["node"]] = frame
                case "run.finished", ended:
                    assert ended["status"] == "completed", frame
                    finished.add(frame["run"])
                case "message.delta", {"index": int(index)} if index > 2 and kills == 0:
                    inside.add(frame["run"])
                    if inside >= heard:
                        kills = _kill_all(nodes)
                case "message.completed", {"turn": 1} if inside >= heard and kills < 4:
                    kills += _kill_all(nodes)
        assert kills >= 2
        hit = Counter[str]()
        for session, kind in sessions.items():
            log = await log_of(gateway, bob, session)
            assert seqs(log) == list(range(1, len(log) + 1)), kind
            hit["lost"] += len(types(log, "run.started")) > 1
            hit["inside"] += bool(types(log, "turn.superseded"))
            messages = [m for m in await transcript(gateway, bob, session) if m["author"]["kind"] == "agent"]
            told = [(message["author"]["name"], message["text"]) for message in messages]
            sent = await bob.say(session, "/script turns=1 history")
            after = [f["data"]["text"] for f in await finish(bob, sent["run"]) if f["type"] == "message.completed"]
            expected = await undisturbed(kind)
            assert sorted(told) == sorted(expected[0]), kind
            assert after == expected[1], kind
        # Not all: on a busy machine a run may begin late, or be between two turns.
        assert hit["lost"] >= 4
        assert hit["inside"] >= 3


def _kill_all(nodes: dict[str, Frame]) -> int:
    killed = len(nodes)
    for started in nodes.values():
        kill(started)
    nodes.clear()
    return killed


async def test_what_was_to_steer_a_run_reaches_it_once_though_its_runner_is_killed(gateway: Door) -> None:
    """Killed before the turn that takes it, in that turn, and in the last one."""
    async with await gateway.person("steering ada") as ada:
        session = await room_for(ada)
        sent = await ada.say(session, "/script turns=2 tokens=40 rate=20")
        started = await ada.expect("run.started", attempt=1)
        await ada.expect("message.delta", turn=0, index=3)
        early = await ada.say(session, "early", on_busy="steer")
        kill(started)
        started = await ada.expect("run.started", attempt=2)
        await ada.expect("message.steered", message=early["message"], outcome="consumed", turn=0)
        await ada.expect("message.delta", turn=0, index=3)
        late = await ada.say(session, "late", on_busy="steer")
        await ada.expect("message.steered", message=late["message"], outcome="consumed", turn=1)
        await ada.expect("message.delta", turn=1, index=3)
        last = await ada.say(session, "last", on_busy="steer")
        kill(started)
        await ada.expect("message.steered", message=last["message"], outcome="consumed", turn=1)
        await finish(ada, sent["run"])
        log = await log_of(gateway, ada, session)
        assert [e["data"]["message"] for e in log if e["type"] == "message.steered"] == [
            message["message"] for message in (early, late, last)
        ]
        heard = [line.partition(":")[2][:5] for line in await known(ada, session)]
        assert heard == ["/scri", "early", "t0.0 ", "late", "last", "t1.0 "]


async def test_an_edit_and_a_kill_at_the_same_time_leave_what_was_edited(gateway: Door) -> None:
    async with await gateway.person("editing ada") as ada:
        session = await room_for(ada, "scripted-autogen")
        for n in range(3):
            sent = await ada.say(session, f"/script turns=2 tokens=40 rate=40 seed={n}")
            started = await ada.expect("run.started")
            await ada.expect("message.delta", turn=n % 2, index=3)
            kill(started)
            edit = await ada.ask("message.edit", session=session, message=sent["message"], text=f"edit {n}")
            await finish(ada, edit["run"])
        assert await known(ada, session) == [
            f"{who}:edit {n}" for n in range(3) for who in ("editing_ada", "alpha", "beta")
        ]
        log = await log_of(gateway, ada, session)
        assert seqs(log) == list(range(1, len(log) + 1))
        ended = types(log, "run.finished")
        assert len(ended) == len(types(log, "run.queued"))


async def test_a_bots_turn_outlives_the_runner_that_heard_it(gateway: Door) -> None:
    async with await gateway.person("asking ada") as ada:
        session = await room_for(ada, "ops")
        await ada.ask("agent.register", agent="probe", session=session)
        sent = await ada.say(session, "look")
        started = await ada.expect("run.started", attempt=1)
        first = (await ada.expect("turn.offered"))["data"]
        await ada.ask("turn.delta", offer=first["offer"], index=0, text="I see ")
        shown = await ada.expect("message.delta", index=0)
        kill(started)
        second = (await ada.expect("turn.offered"))["data"]
        assert (second["turn"], second["attempt"], second["retry"]) == (0, 2, 0)
        gone = (await ada.expect("turn.withdrawn", offer=first["offer"]))["data"]["reason"]
        assert gone == "superseded"
        for command in ({"type_": "turn.delta", "index": 1, "text": "a ghost"}, {"type_": "turn.complete"}):
            with pytest.raises(Refused) as refused:
                await ada.ask(offer=first["offer"], **command)
            assert (refused.value.code, refused.value.error["details"]) == ("conflict", {"reason": gone})
        await ada.ask("turn.delta", offer=second["offer"], index=0, text="a house")
        await ada.ask("turn.complete", offer=second["offer"])
        frames = await finish(ada, sent["run"])
        assert [f["data"]["text"] for f in frames if f["type"] == "message.completed"] == ["a house", "look"]
        log = await log_of(gateway, ada, session)
        (void,) = [e["data"] for e in log if e["type"] == "turn.superseded"]
        assert void["messages"] == [shown["data"]["message"]]
        assert [e["data"]["attempt"] for e in log if e["type"] == "turn.started"] == [1, 2, 2]


async def test_words_for_a_runner_that_is_gone_are_refused_at_once(gateway: Door) -> None:
    """Nobody has taken the run over yet: a lease of two seconds has to end first, or a successor start."""
    async with await gateway.person("quick ada") as ada:
        session = await room_for(ada, "ops")
        await ada.ask("agent.register", agent="probe", session=session)
        sent = await ada.say(session, "look")
        started = await ada.expect("run.started", attempt=1)
        first = (await ada.expect("turn.offered"))["data"]
        kill(started)
        index, reason = 0, None
        while reason is None:
            try:
                await ada.ask("turn.delta", offer=first["offer"], index=index, text="hello? ")
                index += 1
            except Refused as refused:
                reason = refused.error["details"]["reason"]
        assert reason == "lost"
        second = (await ada.expect("turn.offered"))["data"]
        assert second["attempt"] == 2
        await ada.ask("turn.complete", offer=second["offer"], text="here you are")
        frames = await finish(ada, sent["run"])
        assert "here you are" in [f["data"]["text"] for f in frames if f["type"] == "message.completed"]
