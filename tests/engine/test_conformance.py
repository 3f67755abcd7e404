"""What every engine keeps to (`hub.engine.base.Engine`), seen on the scripted teams."""

import asyncio

import orjson
import pytest

from hub.domain.run import Usage
from hub.engine.base import (
    CallResult,
    EngineEvent,
    Failure,
    Input,
    MessageEnded,
    Outcome,
    TextDelta,
    ToolEnded,
    ToolStarted,
)
from hub.engine.catalog import Catalog
from hub.engine.models.registry import ModelDeadlines
from tests.engine.driving import Counts, Told, catalog, engine_tasks, one_turn, request, until_streaming, whole_run

TEAMS = ["scripted", "scripted-autogen"]
pytestmark = pytest.mark.parametrize("name", TEAMS)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def teams(counts: Counts) -> Catalog:
    return catalog(counts=counts, deadlines=ModelDeadlines(first_s=5, idle_s=0.1))


async def test_agents_speak_in_turn_and_say_what_they_stream(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, results = await whole_run(teams.engine(team), team, "/script turns=3 tokens=3")
    assert told.kinds == ["AgentStarted", "TextDelta", "MessageEnded"] * 3
    assert told.speakers == ["alpha", "beta", "alpha"]
    assert told.texts == ["t0.0 t0.1 t0.2 ", "t1.0 t1.1 t1.2 ", "t2.0 t2.1 t2.2 "]
    assert told.streamed == "".join(told.texts)
    assert [result.outcome for result in results] == [Outcome.NEXT, Outcome.NEXT, Outcome.DONE]
    assert [result.usage.completion_tokens for result in results] == [3, 3, 3]
    assert all(orjson.loads(result.state or "") for result in results)


async def test_a_message_has_one_id_of_its_own_and_its_usage(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, results = await whole_run(teams.engine(team), team, "/script turns=2 tokens=2")
    ended = [event for event in told.events if isinstance(event, MessageEnded)]
    deltas = [event for event in told.events if isinstance(event, TextDelta)]
    assert [delta.message for delta in deltas] == [m.message for m in ended for _ in range(2)]
    assert len({message.message for message in ended}) == 2
    assert [message.usage for message in ended] == [result.usage for result in results]
    assert ended[0].usage == Usage(prompt_tokens=3, completion_tokens=2)


async def test_other_text_is_repeated_once_per_agent(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, _ = await whole_run(teams.engine(team), team, "good  morning\nall")
    assert told.texts == ["good  morning\nall"] * 2
    assert told.speakers == ["alpha", "beta"]


async def test_the_agent_spoken_to_answers_alone_or_begins(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    engine = teams.engine(team)
    told, results = await whole_run(engine, team, "good morning", to="beta")
    assert told.speakers == ["beta"]
    told, _ = await whole_run(engine, team, "/script turns=3 tokens=1", to="beta", state=results[-1].state)
    assert told.speakers == ["beta", "alpha", "beta"]


async def test_every_run_begins_with_the_first_agent(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    engine = teams.engine(team)
    _, results = await whole_run(engine, team, "/script turns=1 tokens=1")
    told, _ = await whole_run(engine, team, "/script turns=2 tokens=1", state=results[-1].state)
    assert told.speakers == ["alpha", "beta"]


async def test_agents_know_what_was_said(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    engine = teams.engine(team)
    _, results = await whole_run(engine, team, "/script turns=2 tokens=1")
    inputs = [
        Input("alpha", "words of mine that were interrupted", is_agent=True),
        Input("eve", "and mine"),
        Input("bob", "/script history"),
    ]
    told = Told()
    await one_turn(engine, request(team, "/script history", state=results[-1].state, inputs=inputs), told)
    assert told.texts[0].split("\n") == [
        "6",
        "bob:/script turns=2 toke",
        "alpha:t0.0 ",
        "beta:t1.0 ",
        "alpha:words of mine that w",
        "eve:and mine",
        "bob:/script history",
    ]


async def test_a_turn_done_again_from_its_checkpoint_says_the_same(teams: Catalog, counts: Counts, name: str) -> None:
    """A worker dies between two turns, and another one, which knows only the state, goes on."""
    team = teams.get(name)
    assert team is not None
    prompt = "/script turns=4 tokens=3 tool=counter key=k"
    told, results = await whole_run(teams.engine(team), team, prompt, tools=teams.tools)
    assert results.pop(0).outcome is Outcome.CALLS
    again = Told()
    for turn in range(1, 4):
        other = catalog()
        state = results[turn - 1].state
        result = await one_turn(other.engine(team), request(team, prompt, turn=turn, state=state), again)
        assert result.usage == results[turn].usage
    assert again.texts == told.texts[1:]
    assert again.speakers == told.speakers[2:]  # alpha began twice: before the call and after it
    assert counts.values == {"k": 1}


async def test_a_safe_tool_is_told_before_it_is_called_and_after(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, _ = await whole_run(teams.engine(team), team, "/script turns=1 tokens=2 tool=clock key=k")
    assert told.kinds == ["AgentStarted", "ToolStarted", "ToolEnded", "TextDelta", "MessageEnded"]
    assert told.texts == ["t0.0 t0.1 "]
    started, ended = told.events[1], told.events[2]
    assert isinstance(started, ToolStarted)
    assert isinstance(ended, ToolEnded)
    assert started.call == ended.call
    assert orjson.loads(started.arguments) == {"key": "k"}
    assert ended.name == "clock"
    assert ended.result.endswith("Z")
    assert not ended.is_error


async def test_an_unknown_tool_does_not_end_the_turn(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, _ = await whole_run(teams.engine(team), team, "/script turns=1 tokens=1 tool=hammer key=k")
    (ended,) = [event for event in told.events if isinstance(event, ToolEnded)]
    assert "hammer" in ended.result
    assert ended.is_error
    assert told.texts == ["t0.0 "]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("counter", '{"key":"k"}'), ("transfer", '{"key":"k"}'), ("ask_person", '{"question":"k"}')],
)
async def test_a_turn_ends_at_a_call_that_is_not_safe_and_goes_on_after_it(
    teams: Catalog, counts: Counts, name: str, tool: str, arguments: str
) -> None:
    team = teams.get(name)
    assert team is not None
    prompt = f"/script turns=2 tokens=2 tool={tool} key=k"
    told, again = Told(), Told()
    stopped = await one_turn(teams.engine(team), request(team, prompt), told)
    assert (stopped.outcome, told.kinds) == (Outcome.CALLS, ["AgentStarted"])
    (asked,) = stopped.calls
    assert (asked.agent.name, asked.name, asked.arguments) == ("alpha", tool, arguments)
    assert counts.values == {}
    # Any worker may go on, at any time, with what came of it: in the same turn, and with the same agent.
    results = [CallResult(asked.call, tool, "what came of it", is_error=False)]
    other = catalog().engine(team)
    resumed = await one_turn(other, request(team, prompt, state=stopped.state, results=results), again)
    assert (resumed.outcome, again.speakers, again.texts) == (Outcome.NEXT, ["alpha"], ["t0.0 t0.1 "])
    last = await one_turn(other, request(team, prompt, turn=1, state=resumed.state), again)
    assert (last.outcome, again.speakers) == (Outcome.DONE, ["alpha", "beta"])
    # Whoever waited for alpha knows what was said, once, and nothing of how alpha waited.
    heard = Told()
    await one_turn(other, request(team, "/script history", state=last.state, to="beta"), heard)
    assert heard.texts[0].split("\n") == [
        "4",
        f"bob:{prompt[:20]}",
        "alpha:t0.0 t0.1 ",
        "beta:t1.0 t1.1 ",
        "bob:/script history",
    ]


async def test_a_turn_that_was_stopped_at_a_call_leaves_a_state_for_the_next_run(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    engine, told = teams.engine(team), Told()
    stopped = await one_turn(engine, request(team, "/script tool=transfer key=k"), Told())
    result = await one_turn(engine, request(team, "/script history turns=1", state=stopped.state), told)
    assert result.outcome is Outcome.DONE
    assert told.texts[0].split("\n") == ["2", "bob:/script tool=transfe", "bob:/script history turn"]


async def test_a_model_that_fails_ends_the_turn(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told = Told()
    result = await one_turn(teams.engine(team), request(team, "/script tokens=9 fail_at=2"), told)
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_UNAVAILABLE)
    assert result.state is None
    assert result.usage.completion_tokens == 3
    assert told.streamed == "t0.0 t0.1 t0.2 "
    assert "MessageEnded" not in told.kinds


async def test_a_model_that_stalls_is_given_up(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    result = await one_turn(teams.engine(team), request(team, "/script tokens=9 stall_at=2"), Told())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_STALLED)


async def test_a_stopped_turn_ends_at_once(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, stop = Told(), asyncio.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        asked = request(team, "/script tokens=1000 rate=50")
        turn = tasks.create_task(teams.engine(team).turn(asked, told.emit, stop))
        await until_streaming(told, 3)
        stopped = loop.time()
        stop.set()
    result = turn.result()
    assert result.outcome is Outcome.CANCELLED
    assert loop.time() - stopped < 10, "to the end it would take 20 s"
    assert result.state is None
    assert result.usage.completion_tokens >= 3


async def test_a_turn_that_is_stopped_before_it_begins_says_nothing(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, stop = Told(), asyncio.Event()
    stop.set()
    result = await one_turn(teams.engine(team), request(team, "hi"), told, stop)
    assert (result.outcome, told.events) == (Outcome.CANCELLED, [])


async def test_a_turn_has_a_limit_of_wall_time(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    asked = request(team, "/script tokens=1000 rate=50", timeout_s=0.2)
    result = await one_turn(teams.engine(team), asked, told := Told())
    assert result.outcome is Outcome.TIMEOUT
    assert told.streamed


async def test_cancelling_the_caller_leaves_nothing_behind(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    before = engine_tasks()
    told = Told()
    turn = asyncio.create_task(
        teams.engine(team).turn(request(team, "/script tokens=1000 rate=50"), told.emit, asyncio.Event())
    )
    await until_streaming(told)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert engine_tasks() == before


async def test_an_emit_that_raises_ends_the_turn(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told = Told()

    async def emit(event: EngineEvent) -> None:
        if len(told.events) == 4:
            raise RuntimeError("the lease is lost")
        await told.emit(event)

    before = engine_tasks()
    result = await teams.engine(team).turn(request(team, "/script tokens=9"), emit, asyncio.Event())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.ENGINE_ERROR)
    assert "the lease is lost" in (result.detail or "")
    assert len(told.events) == 4
    assert engine_tasks() == before


async def test_a_slow_listener_slows_the_model(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    told, gate, stop = Told(), asyncio.Event(), asyncio.Event()

    async def emit(event: EngineEvent) -> None:
        await told.emit(event)
        if len(told.events) == 10:
            await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(teams.engine(team).turn(request(team, "/script turns=1 tokens=5000"), emit, stop))
        await until_streaming(told, 9)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(told.events) == 10
        gate.set()
    assert turn.result().outcome is Outcome.DONE
    assert told.texts == ["".join(f"t0.{n} " for n in range(5000))]


async def test_a_state_that_is_not_one_fails_the_turn(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    for state in ("{}", "nonsense", '{"engine":"other"}'):
        result = await one_turn(teams.engine(team), request(team, "hi", state=state), Told())
        assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.ENGINE_ERROR)


async def test_many_sessions_at_once_do_not_mix(teams: Catalog, name: str) -> None:
    team = teams.get(name)
    assert team is not None
    tellings = [Told() for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for number, told in enumerate(tellings):
            asked = request(team, f"message number {number}")
            tasks.create_task(teams.engine(team).turn(asked, told.emit, asyncio.Event()))
    assert [told.texts for told in tellings] == [[f"message number {number}"] for number in range(20)]
