"""Teams that speak as one agent, and agents that are asked as tools are called."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from hub.domain.budget import Budgets, BudgetScope, Quantity, limit_of
from hub.domain.team import AgentSpec, Edge, Nested, TeamKind, TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.base import AgentStarted, Failure, MessageEnded, Outcome, ToolEnded, ToolStarted
from hub.engine.models.registry import HostedModel, ModelDeadlines
from hub.engine.tools.tool import Tool, ToolKind
from tests.engine.driving import Told, catalog, deadlines_for, one_turn, request, until_streaming, whole_run
from tests.engine.fake_openai import FakeOpenAi, fake_openai


def agents(*names: str) -> tuple[AgentSpec, ...]:
    return tuple(AgentSpec(name, name.title(), tools=("clock",)) for name in names)


INNER = TeamSpec("desk", "", TeamKind.ROUND_ROBIN, None, agents("first", "second"), max_turns=2)
TEAM = TeamSpec(
    "outer",
    "",
    TeamKind.ROUND_ROBIN,
    None,
    (*agents("alpha"), AgentSpec("desk", "Desk", nested=Nested(INNER))),
    max_turns=2,
)


def made_of(inner: TeamSpec = INNER, *, is_shown: bool = True, answers: bool = False) -> TeamSpec:
    desk = AgentSpec("desk", "Desk", "Be kind.", nested=Nested(inner, is_shown, answers))
    return replace(TEAM, agents=(TEAM.agents[0], desk))


def said(told: Told) -> list[tuple[str, str]]:
    return [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


FIRST, SECOND = ("first", "t0.0 t0.1 "), ("second", "t1.0 t1.1 ")


@pytest.mark.parametrize(
    ("team", "expected"),
    [
        (made_of(), [FIRST, SECOND]),
        (made_of(is_shown=False), [("desk", SECOND[1])]),
        (made_of(answers=True), [FIRST, SECOND, ("desk", "t1.0 t1.1 ")]),
        (made_of(is_shown=False, answers=True), [("desk", "t1.0 t1.1 ")]),
        (made_of(replace(INNER, kind=TeamKind.SELECTOR)), [FIRST, SECOND]),
        (made_of(replace(INNER, kind=TeamKind.SWARM)), [FIRST, ("first", SECOND[1])]),
        (made_of(replace(INNER, kind=TeamKind.MAGENTIC)), [FIRST, ("orchestrator", SECOND[1])]),
        (made_of(replace(INNER, kind=TeamKind.GRAPH, edges=(Edge("first", "second"),))), [FIRST, SECOND]),
        (made_of(replace(INNER, max_messages=1)), [FIRST]),
        (made_of(replace(INNER, stop_phrase="t0.1")), [FIRST]),
    ],
)
async def test_a_team_speaks_as_an_agent(team: TeamSpec, expected: list[tuple[str, str]]) -> None:
    engine = catalog(teams=[team]).engine(team)
    told, results = await whole_run(engine, team, "/script turns=2 tokens=2")
    assert said(told) == [("alpha", "t0.0 t0.1 "), *expected]
    assert told.streamed == "".join(text for _, text in said(told))
    assert results[1].usage.completion_tokens == 2 * len(expected) or not team.agents[1].nested.is_shown  # type: ignore[union-attr]
    assert told.speakers[:2] == ["alpha", "desk"]
    # Another worker, from the checkpoint, says the same; and its state is the same.
    again = Told()
    result = await one_turn(
        catalog(teams=[team]).engine(team),
        request(team, "/script turns=2 tokens=2", turn=1, state=results[0].state),
        again,
    )
    assert said(again) == expected
    assert result.usage == results[1].usage


async def test_what_it_has_said_is_known_in_the_next_run_inside_and_outside() -> None:
    team = made_of(is_shown=False)
    engine = catalog(teams=[team]).engine(team)
    _, results = await whole_run(engine, team, "one")
    told, _ = await whole_run(engine, team, "/script turns=1 history", state=results[-1].state)
    assert [text.split("\n") for text in told.texts] == [
        ["4", "bob:one", "alpha:one", "desk:one", "bob:/script turns=1 hist"]
    ]
    told, _ = await whole_run(engine, team, "/script turns=1 history", state=results[-1].state, to="desk")
    # first's own view: what it was told, what was said inside, and what has come since.
    assert told.texts[0].split("\n")[:4] == ["5", "bob:one", "alpha:one", "first:one"]


async def test_teams_within_teams_within_teams() -> None:
    inmost = replace(INNER, name="core", agents=agents("third", "fourth"))
    team = made_of(replace(INNER, agents=(*agents("first"), AgentSpec("core", "Core", nested=Nested(inmost)))))
    told, results = await whole_run(catalog(teams=[team]).engine(team), team, "hello")
    assert [name for name, _ in said(told)] == ["alpha", "first", "third", "fourth"]
    state = orjson.loads(results[-1].state or "")
    assert state["shape"] == "round_robin:alpha,desk(round_robin:core(round_robin:fourth,third),first)"
    assert "".join(told.texts) == "hello" * 4


@pytest.mark.parametrize("is_shown", [True, False])
async def test_a_stop_ends_what_is_inside(is_shown: bool) -> None:
    team = replace(made_of(is_shown=is_shown), agents=made_of(is_shown=is_shown).agents[1:])
    told, stop = Told(), asyncio.Event()
    asked = request(team, "/script tokens=9999 rate=50")
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(one_turn(catalog(teams=[team]).engine(team), asked, told, stop))
        if is_shown:
            await until_streaming(told, 3)
        else:
            async with asyncio.timeout(30):
                await told.more.wait()
        begun = asyncio.get_running_loop().time()
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
    assert asyncio.get_running_loop().time() - begun < 15


async def for_ever(_arguments: object, _context: object) -> str:
    await asyncio.Event().wait()
    return ""


async def test_a_stop_ends_a_call_inside() -> None:
    """An agent that AutoGen has cancelled in a call hangs: it, and what it has called, are ended apart."""
    slow = Tool("slow", "Takes for ever.", {"type": "object", "properties": {}}, ToolKind.SAFE, run=for_ever)
    inner = replace(INNER, agents=(AgentSpec("first", "First", tools=("slow",)),))
    team = replace(made_of(inner), agents=made_of(inner).agents[1:])
    told, stop = Told(), asyncio.Event()
    made = catalog(teams=[team], tools=[slow], tool_timeout_s=60)
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(one_turn(made.engine(team), request(team, "/script tool=slow"), told, stop))
        async with asyncio.timeout(30):
            while "ToolStarted" not in told.kinds:
                told.more.clear()
                await told.more.wait()
        begun = asyncio.get_running_loop().time()
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
    assert asyncio.get_running_loop().time() - begun < 15
    assert made.tools.host.active == 0


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("malformed", Failure.MALFORMED_OUTPUT),
        ("stalling", Failure.MODEL_STALLED),
        ("unpaid", Failure.MODEL_UNAVAILABLE),
        ("long", Failure.CONTEXT_TOO_LONG),
    ],
)
async def test_a_failure_inside_keeps_its_name(fake: FakeOpenAi, mode: str, failure: Failure) -> None:
    team = replace(made_of(), agents=made_of().agents[1:])
    made = catalog(("fake", HostedModel(fake.url, mode)), teams=[team], deadlines=deadlines_for(mode))
    result = await one_turn(made.engine(team), request(team, "Hi"), Told())
    await made.aclose()
    assert (result.outcome, result.failure, result.state) == (Outcome.FAILED, failure, None)
    assert len(result.model_calls) == 1


async def test_a_society_answers_from_what_its_team_has_said(fake: FakeOpenAi) -> None:
    team = replace(made_of(answers=True, is_shown=False), agents=made_of(answers=True, is_shown=False).agents[1:])
    made = catalog(("fake", HostedModel(fake.url, "good")), teams=[team])
    told = Told()
    result = await one_turn(made.engine(team), request(team, "Write a song"), told)
    await made.aclose()
    assert told.kinds == ["AgentStarted", "TextDelta", "MessageEnded"]
    assert len(result.model_calls) == 3
    system, asked = fake.requests[-1]["messages"]
    assert system["content"] == "Be kind."
    for words in ("bob said:\nWrite a song", "first said:\nHello from fake", "second said:\nHello from fake"):
        assert words in asked["content"]


def spent_by(scope_limit: int) -> Allowance:
    return Allowance(Budgets((limit_of(BudgetScope.RUN, Quantity.TOKENS, scope_limit),)))


async def test_budgets_are_stacked() -> None:
    prompt = "/script turns=9 tokens=30"
    for inner, outer, counted in ((40, 10_000, 40), (10_000, 40, 40), (10_000, 10_000, None)):
        team = made_of(replace(INNER, budgets=(limit_of(BudgetScope.RUN, Quantity.TOKENS, inner),)))
        team = replace(team, agents=team.agents[1:])
        allowance = spent_by(outer)
        asked = replace(request(team, prompt), allowance=allowance)
        result = await one_turn(catalog(teams=[team]).engine(team), asked, Told())
        if counted is None:
            assert result.outcome is Outcome.NEXT
            assert allowance._tokens == result.usage.prompt_tokens + result.usage.completion_tokens
        else:
            assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.BUDGET_EXCEEDED)
            assert allowance.reached is not None
            assert allowance.reached.limit.amount == counted


# ---- agents as tools


ASKING = TeamSpec(
    "asking",
    "",
    TeamKind.ROUND_ROBIN,
    None,
    (replace(agents("chief")[0], helpers=(AgentSpec("expert", "Expert", "Know.", tools=("clock",)),)),),
    max_turns=1,
)


def asking_on_the_fake() -> TeamSpec:
    """Only the agent that is asked is on the fake server."""
    expert = replace(ASKING.agents[0].helpers[0], model="fake")
    return replace(ASKING, model="scripted", agents=(replace(ASKING.agents[0], helpers=(expert,)),))


async def test_an_agent_is_asked_as_a_tool_is_called() -> None:
    told, results = await whole_run(
        catalog(teams=[ASKING]).engine(ASKING), ASKING, "/script turns=1 tokens=2 tool=ask_expert key=why"
    )
    assert told.kinds == ["AgentStarted", "ToolStarted", "ToolEnded", "TextDelta", "MessageEnded"]
    (started,) = [event for event in told.events if isinstance(event, ToolStarted)]
    (ended,) = [event for event in told.events if isinstance(event, ToolEnded)]
    assert (started.agent.name, started.name, orjson.loads(started.arguments)) == (
        "chief",
        "ask_expert",
        {"task": "why"},
    )
    assert (ended.call, ended.result, ended.is_error) == (started.call, "why", False)
    assert [call.agent for call in results[0].model_calls] == ["chief", "expert", "chief"]
    assert said(told) == [("chief", "t0.0 t0.1 ")]


async def test_tools_that_an_asked_agent_calls_are_recorded() -> None:
    prompt = "/script turns=1 tokens=1 tool=ask_expert key=/script"
    told, _ = await whole_run(catalog(teams=[ASKING]).engine(ASKING), ASKING, prompt)
    assert said(told) == [("chief", "t0.0 ")]
    assert {event.agent.name for event in told.events if isinstance(event, AgentStarted)} == {"chief"}


@pytest.mark.parametrize("stopped", [True, False])
async def test_an_asked_agent_ends_with_the_turn(fake: FakeOpenAi, stopped: bool) -> None:
    """By a stop, and by the end of its time."""
    team = replace(
        ASKING, agents=(replace(ASKING.agents[0], helpers=(replace(ASKING.agents[0].helpers[0], model="fake"),)),)
    )
    made = catalog(("fake", HostedModel(fake.url, "silent")), teams=[team], deadlines=ModelDeadlines(60, 60))
    told, stop = Told(), asyncio.Event()
    asked = request(team, "/script turns=1 tool=ask_expert key=why", timeout_s=60 if stopped else 2)
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(one_turn(made.engine(team), asked, told, stop))
        async with asyncio.timeout(30):
            while not fake.requests:
                fake.more.clear()
                await fake.more.wait()
        begun = asyncio.get_running_loop().time()
        if stopped:
            stop.set()
    assert turn.result().outcome is (Outcome.CANCELLED if stopped else Outcome.TIMEOUT)
    assert asyncio.get_running_loop().time() - begun < 15
    await made.aclose()


async def test_an_agent_that_does_not_answer_is_a_tool_that_failed(fake: FakeOpenAi) -> None:
    team = asking_on_the_fake()
    made = catalog(("fake", HostedModel(fake.url, "unpaid")), teams=[team])
    told, results = await whole_run(made.engine(team), team, "/script turns=1 tokens=1 tool=ask_expert key=why")
    await made.aclose()
    (ended,) = [event for event in told.events if isinstance(event, ToolEnded)]
    assert ended.is_error
    assert ended.result == "expert did not answer: model_unavailable"
    assert said(told) == [("chief", "t0.0 ")]
    assert results[-1].outcome is Outcome.DONE
