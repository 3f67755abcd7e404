"""LangChain and LangGraph behind the seam, on the fake models of langchain-core."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest

from hub.domain.budget import Budgets, BudgetScope, Limit, Quantity
from hub.domain.ids import AttachmentId, SessionId, new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.attached import Content, Picture, Writing
from hub.engine.base import EngineEvent, Failure, Input, MessageEnded, Outcome, ToolEnded, ToolStarted, TurnResult
from hub.engine.catalog import Catalog, names_of
from hub.engine.forms import FileError
from hub.engine.langchain import Runnable, runnable
from hub.engine.langchain.messages import KEPT_MESSAGES, seal, unseal
from hub.engine.langchain.registry import Runnables
from hub.engine.loading import load
from hub.engine.models.registry import ModelDeadlines, Models, ScriptedModel
from hub.engine.teams.files import parse
from hub.engine.tools.registry import Tools
from tests.engine.driving import Told, builtin, engine_tasks, one_turn, request, until_streaming, whole_run

SOLO = AgentSpec("solo", "Solo")
PAIR = (AgentSpec("writer", "Writer"), AgentSpec("critic", "Critic"))


def team(name: str, *agents: AgentSpec) -> TeamSpec:
    return TeamSpec("t", "d", TeamKind.RUNNABLE, None, agents or (SOLO,), runnable=name)


@pytest.fixture(scope="module")
def runnables() -> Runnables:
    found = load("HUB_RUNNABLES", "agenthub.runnables", Runnable, ["tests.engine.some_runnables"])
    return Runnables(found)


PICTURE, PAPER, GONE = (AttachmentId(new_id()) for _ in range(3))


async def fetch(_session: SessionId, wanted: Sequence[AttachmentId]) -> Mapping[AttachmentId, Content]:
    there: dict[AttachmentId, Content] = {
        PICTURE: Picture("image/png", "cGljdHVyZQ=="),
        PAPER: Writing("needle"),
    }
    return {id_: there[id_] for id_ in wanted if id_ in there}


def catalog(runnables: Runnables, *teams: TeamSpec) -> Catalog:
    models = Models({"scripted": ScriptedModel()}, default="scripted")
    tools, deadlines = Tools(builtin()), ModelDeadlines()
    return Catalog(models, tools, teams=teams, runnables=runnables, deadlines=deadlines, fetch=fetch)


async def turn(
    runnables: Runnables,
    spec: TeamSpec,
    prompt: str,
    told: Told,
    state: str | None = None,
    inputs: Sequence[Input] | None = None,
) -> TurnResult:
    made = catalog(runnables, spec)  # another worker each time
    return await one_turn(made.engine(spec), request(spec, prompt, state=state, inputs=inputs), told)


@pytest.mark.parametrize(("name", "says"), [("chain", "chain 1 bob:hello"), ("model", "1 bob:hello")])
async def test_a_runnable_streams_and_remembers(runnables: Runnables, name: str, says: str) -> None:
    told, spec = Told(), team(name)
    first = await turn(runnables, spec, "hello", told)
    assert (first.outcome, told.texts) == (Outcome.DONE, [says])
    assert told.kinds == ["AgentStarted", "TextDelta", "MessageEnded"]
    assert sum(type(event).__name__ == "TextDelta" for event in told.events) > 1
    assert told.streamed == says
    assert first.usage == Usage(1, len(says.split()))
    second = await turn(runnables, spec, "and now", told := Told(), state=first.state)
    assert told.texts == [says.replace("1 bob:hello", "3 bob:and now")]
    again = await turn(runnables, spec, "and now", told := Told(), state=first.state)  # as after a takeover
    assert (told.texts, again.state) == ([says.replace("1 bob:hello", "3 bob:and now")], second.state)


async def test_nodes_of_a_graph_speak_as_the_agents_of_their_names_and_its_state_is_kept(runnables: Runnables) -> None:
    spec, told = team("graph", *PAIR), Told()
    first = await turn(runnables, spec, "go", told)
    assert told.speakers == ["writer", "critic"]
    assert told.texts == ["draft 1 bob:go", "check 2 ai:draft 1 bob:go", "round 1"]
    ended = [event for event in told.events if isinstance(event, MessageEnded)]
    assert [event.agent.name for event in ended] == ["writer", "critic", "critic"]
    assert ended[0].usage == Usage(1, 3)
    assert [call.agent for call in first.model_calls] == ["writer", "critic"]
    second = await turn(runnables, spec, "again", told := Told(), state=first.state)
    assert told.texts[0] == "draft 5 bob:again"
    assert told.texts[-1] == "round 2"
    assert orjson.loads(second.state or "")["values"] == {"rounds": 2}


@pytest.mark.parametrize("as_agent", [False, True])
@pytest.mark.parametrize(("name", "seen"), [("looking", "['text', 'image']"), ("listening", "['text']")])
async def test_what_is_attached_is_given_to_those_who_can_use_it_and_is_in_no_state(
    runnables: Runnables, name: str, seen: str, as_agent: bool
) -> None:
    """Pictures as LangChain's content blocks, texts as words; also in later turns, out of the state."""
    spec = team(name)
    if as_agent:
        spec = TeamSpec("t", "d", TeamKind.ROUND_ROBIN, "scripted", (replace(SOLO, runnable=name),), max_turns=1)
    notes = [
        f"[attachment {id_}: a, {kind}, 9 bytes]"
        for id_, kind in ((PICTURE, "image/png"), (PAPER, "text/plain"), (GONE, "image/gif"))
    ]
    said = "\n".join(["look", *notes])
    first = await turn(runnables, spec, said, told := Told())
    assert told.texts[0].startswith(f"[{seen}] ")
    assert "needle" in told.texts[0]
    assert first.state is not None
    kept = orjson.loads(first.state)
    assert str(PICTURE) in str(kept)
    assert "cGljdHVyZQ==" not in first.state
    heard = kept["messages"][0]["data"] if not as_agent else {"content": said}
    assert heard["content"] == said
    await turn(runnables, spec, "and now", told := Told(), state=first.state)
    assert told.texts[0].startswith(f"[{seen}, ['text']] ")


@pytest.mark.parametrize("name", ["clock", "own"])
async def test_calls_of_tools_are_told(runnables: Runnables, name: str) -> None:
    spec, told = team("tools", replace(SOLO, tools=("clock",) if name == "clock" else ())), Told()
    await turn(runnables, spec, "what time is it", told)
    assert told.kinds == ["AgentStarted", "ToolStarted", "ToolEnded", "TextDelta", "MessageEnded"]
    started, ended = told.events[1], told.events[2]
    assert isinstance(started, ToolStarted)
    assert isinstance(ended, ToolEnded)
    assert (started.call, started.name, started.agent.name, ended.is_error) == (ended.call, name, "solo", False)
    assert ended.result.endswith("Z") if name == "clock" else ended.result == "own k"
    assert told.texts[0].startswith("told 2 ")
    assert ended.result in told.texts[0]


async def test_a_tool_of_the_hubs_that_has_effects_is_not_there(runnables: Runnables) -> None:
    spec = team("tools", replace(SOLO, tools=("counter",)))
    await turn(runnables, spec, "go", told := Told())
    assert [event.name for event in told.events if isinstance(event, ToolStarted)] == ["own"]


@pytest.mark.parametrize(
    ("name", "prompt", "failure", "detail"),
    [
        ("odd", "fail", Failure.ENGINE_ERROR, "RuntimeError: /secret/path"),
        ("odd", "limited", Failure.MODEL_RATE_LIMITED, "RateLimitError: slow down"),
        ("odd", "dict", Failure.ENGINE_ERROR, "gives neither text nor messages, but dict"),
        ("broken", "x", Failure.ENGINE_ERROR, "RuntimeError: no such model"),
        ("stateful", "x", Failure.ENGINE_ERROR, "the graph's state holds what JSON does not have"),
    ],
)
async def test_what_breaks_a_turn_is_its_outcome(
    runnables: Runnables, name: str, prompt: str, failure: Failure, detail: str
) -> None:
    result = await turn(runnables, team(name), prompt, Told())
    assert (result.outcome, result.failure, result.state) == (Outcome.FAILED, failure, None)
    assert detail in (result.detail or "")


async def test_a_checkpointer_of_its_own_is_refused(runnables: Runnables) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    @runnable("saving")
    def saving(_tools: object) -> object:
        graph = StateGraph(MessagesState)
        graph.add_node("n", lambda state: state)
        graph.add_edge(START, "n")
        return graph.compile(checkpointer=InMemorySaver())

    result = await turn(Runnables([saving]), team("saving"), "x", Told())
    assert "compile it without one" in (result.detail or "")


@pytest.mark.parametrize("how", ["stop", "timeout", "cancel", "emit"])
async def test_a_turn_ends_when_it_must(runnables: Runnables, how: str) -> None:
    spec, told, stop = team("odd"), Told(), asyncio.Event()
    engine = catalog(runnables, spec).engine(spec)
    before, loop = engine_tasks(), asyncio.get_running_loop()

    async def emit(event: EngineEvent) -> None:
        await told.emit(event)
        if how == "emit" and len(told.events) == 2:
            raise RuntimeError("the lease is lost")

    asked = request(spec, "hang", timeout_s=0.2 if how == "timeout" else 30)
    working = asyncio.create_task(engine.turn(asked, emit, stop))
    await until_streaming(told)
    began = loop.time()
    if how == "stop":
        stop.set()
    if how == "cancel":
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    else:
        expected = {"stop": Outcome.CANCELLED, "timeout": Outcome.TIMEOUT, "emit": Outcome.FAILED}
        assert (await working).outcome is expected[how]
    assert loop.time() - began < 15, "its time is 30 s"
    await asyncio.sleep(0)
    assert engine_tasks() == before


@pytest.mark.parametrize("kind", [TeamKind.RUNNABLE, TeamKind.ROUND_ROBIN])
async def test_who_shrugs_off_the_end_of_a_turn_is_not_heard(runnables: Runnables, kind: TeamKind) -> None:
    spec, told, stop = team("odd"), Told(), asyncio.Event()
    if kind is TeamKind.ROUND_ROBIN:
        spec = TeamSpec("t", "d", kind, "scripted", (replace(SOLO, runnable="odd"),))
    async with asyncio.TaskGroup() as tasks:
        asked = request(spec, "shrug")
        working = tasks.create_task(catalog(runnables, spec).engine(spec).turn(asked, told.emit, stop))
        await until_streaming(told)
        stop.set()
    assert (working.result().outcome, told.streamed) == (Outcome.CANCELLED, "a")


async def test_who_is_stopped_has_time_to_clean_up() -> None:
    """It is cancelled once, and again only when it does not end."""
    cleaned = asyncio.Event()

    async def act(given: AsyncIterator[object]) -> AsyncIterator[str]:
        async for _ in given:
            yield "a"
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)
                cleaned.set()

    @runnable("careful")
    def careful(_tools: object) -> object:
        from langchain_core.runnables import RunnableGenerator

        return RunnableGenerator(act)

    spec = TeamSpec("t", "d", TeamKind.ROUND_ROBIN, "scripted", (replace(SOLO, runnable="careful"),))
    told, stop = Told(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        asked = request(spec, "x")
        working = tasks.create_task(catalog(Runnables([careful]), spec).engine(spec).turn(asked, told.emit, stop))
        await until_streaming(told)
        stop.set()
    assert working.result().outcome is Outcome.CANCELLED
    assert cleaned.is_set()


async def test_a_slow_listener_slows_a_runnable(runnables: Runnables) -> None:
    spec, told, gate, stop = team("odd"), Told(), asyncio.Event(), asyncio.Event()

    async def emit(event: EngineEvent) -> None:
        await told.emit(event)
        if len(told.events) == 10:
            await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(catalog(runnables, spec).engine(spec).turn(request(spec, "much"), emit, stop))
        await until_streaming(told, 9)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(told.events) == 10
        gate.set()
    assert working.result().outcome is Outcome.DONE
    assert told.texts == ["".join(f"{number} " for number in range(1000))]


async def test_a_runnable_speaks_as_an_agent_beside_others(runnables: Runnables) -> None:
    first, second = AgentSpec("solo", "Solo", runnable="chain"), AgentSpec("beta", "Beta")
    spec = TeamSpec("t", "d", TeamKind.ROUND_ROBIN, "scripted", (first, second), max_turns=4)
    made = catalog(runnables, spec)
    told, results = await whole_run(made.engine(spec), spec, "hello")
    assert told.speakers == ["solo", "beta"]
    assert told.texts == ["chain 1 bob:hello", "hello"]
    assert results[0].usage.completion_tokens == 3
    told, _ = await whole_run(catalog(runnables, spec).engine(spec), spec, "once more", state=results[-1].state)
    assert told.texts[0] == "chain 4 bob:once more"
    await made.aclose()


async def test_an_agent_that_fails_or_is_stopped_ends_the_turn(runnables: Runnables) -> None:
    spec = TeamSpec("t", "d", TeamKind.ROUND_ROBIN, "scripted", (AgentSpec("solo", "Solo", runnable="odd"),))
    engine = catalog(runnables, spec).engine(spec)
    result = await one_turn(engine, request(spec, "limited"), Told())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_RATE_LIMITED)
    told, stop = Told(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(engine.turn(request(spec, "hang"), told.emit, stop))
        await until_streaming(told)
        stop.set()
    assert working.result().outcome is Outcome.CANCELLED


@pytest.mark.parametrize(
    ("name", "quantity", "amount", "says"),
    [("odd", Quantity.TOKENS, 20, 19), ("model", Quantity.TOKENS, 1, 0), ("tools", Quantity.TOOL_CALLS, 0, 0)],
)
@pytest.mark.parametrize("kind", [TeamKind.RUNNABLE, TeamKind.ROUND_ROBIN])
async def test_a_budget_ends_a_turn_where_it_is_used_up(
    runnables: Runnables, kind: TeamKind, name: str, quantity: Quantity, amount: int, says: int
) -> None:
    spec = team(name)
    if kind is TeamKind.ROUND_ROBIN:
        spec = TeamSpec("t", "d", kind, "scripted", (replace(SOLO, runnable=name),))
    allowance = Allowance(Budgets([Limit(BudgetScope.RUN, quantity, amount)]))
    asked = replace(request(spec, "much of it"), allowance=allowance)
    result = await one_turn(catalog(runnables, spec).engine(spec), asked, told := Told())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.BUDGET_EXCEEDED), result
    assert len(told.streamed.split()) == says
    assert not any(isinstance(event, ToolStarted) for event in told.events)


def test_a_state_is_bounded_and_begins_with_no_orphan() -> None:
    from langchain_core.messages import AIMessage, ToolMessage

    call = {"name": "t", "args": {}, "id": "1"}
    said = [AIMessage("", tool_calls=[call]), ToolMessage("x", tool_call_id="1")]
    said += [AIMessage(f"{number}") for number in range(KEPT_MESSAGES - 1)]
    _, kept = unseal(seal({"messages": said, "rounds": 1}, []))
    assert [message.content for message in kept] == [f"{number}" for number in range(KEPT_MESSAGES - 1)]
    with pytest.raises(ValueError, match="more than 4,000,000 characters"):
        seal({"notes": "x" * 4_000_000}, [])


def test_arguments_that_models_write_are_written_down() -> None:
    from hub.engine.langchain.tools import written

    assert written({"b": 1, "a": "x"}) == '{"a":"x","b":1}'
    assert json.loads(written({"n": 10**30, "of": NotImplemented})) == {"n": 10**30, "of": "NotImplemented"}


async def test_states_go_from_one_engine_to_another(runnables: Runnables) -> None:
    scripted = TeamSpec("t", "d", TeamKind.SCRIPTED, "scripted", (SOLO,))
    chained, autogen = team("chain"), replace(scripted, kind=TeamKind.ROUND_ROBIN)
    _, (said,) = await whole_run(catalog(runnables, scripted).engine(scripted), scripted, "hello")
    result = await turn(runnables, chained, "and now", told := Told(), state=said.state)
    assert told.texts == ["chain 3 bob:and now"]
    heard = Told()
    await turn(runnables, autogen, "/script history", heard, state=result.state)
    assert heard.texts[0].split("\n")[:3] == ["5", "bob:hello", "solo:hello"]
    (ended,) = (await whole_run(catalog(runnables, autogen).engine(autogen), autogen, "hello"))[1]
    await turn(runnables, chained, "and now", back := Told(), state=ended.state)
    assert back.texts == ["chain 3 bob:and now"]
    assert (await turn(runnables, chained, "x", Told(), state='{"engine":"other"}')).failure is Failure.ENGINE_ERROR


TEAM = b"""
name: t
description: d
kind: runnable
runnable: graf
agents:
  - {name: writer, tools: [counter], model: scripted}
  - {name: other, kind: runnable, runnable: graph}
"""


def test_what_teams_may_name(runnables: Runnables) -> None:
    models = Models({"scripted": ScriptedModel()}, default="scripted")
    names = names_of(models, Tools(builtin()), runnables)
    with pytest.raises(FileError) as error:
        parse(TEAM, "t.yaml", names)
    assert sorted((problem.where, problem.what) for problem in error.value.problems) == [
        ("agents[0].model", "only an agent of kind model has model"),
        ("agents[0].tools[0]", "'counter' has effects or asks people: not for a runnable"),
        ("agents[1].kind", "in a team of kind runnable the runnable speaks for all agents"),
        ("runnable", "there is no runnable 'graf'; do you mean 'graph'?"),
    ]
    with pytest.raises(FileError, match="only a team or an agent of kind runnable has a runnable"):
        parse(b"name: t\ndescription: d\nkind: graph\nrunnable: graph\nagents: [{name: a}]", "t.yaml", names)
    with pytest.raises(FileError, match="names its `runnable`"):
        parse(b"name: t\ndescription: d\nkind: swarm\nagents: [{name: a, kind: runnable}]", "t.yaml", names)
    with pytest.raises(ValueError, match="needs 'nothing', which does not exist"):
        catalog(runnables, team("nothing"))
    with pytest.raises(ValueError, match="is no name"):
        runnable("No Name")
