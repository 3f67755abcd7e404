"""Swarms and graphs, turn by turn: they say what the same AutoGen team says when it is left alone."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import Any

import orjson
import pytest
from autogen_agentchat.teams._group_chat._graph._digraph_group_chat import GraphFlowManager
from autogen_core.models import CreateResult, LLMMessage

from hub.domain.team import AgentSpec, Edge, TeamKind, TeamSpec
from hub.engine.autogen.build import TeamBuilder
from hub.engine.autogen.graph import HubGraph
from hub.engine.autogen.telling import Telling
from hub.engine.base import EngineEvent, Failure, Handoff, Input, MessageEnded, Outcome, TextDelta, ToolEnded
from hub.engine.models.client import StreamingClient
from hub.engine.models.registry import HostedModel, ModelDeadlines, ScriptedModel
from hub.engine.models.scripted import ScriptedClient
from hub.engine.script import plan
from hub.engine.tools.registry import Tools
from tests.engine.driving import (
    Told,
    alone,
    builtin,
    catalog,
    deadlines_for,
    one_turn,
    request,
    until_streaming,
    whole_run,
)
from tests.engine.fake_openai import FakeOpenAi, fake_openai


def agents(*names: str, **handoffs: tuple[str, ...]) -> tuple[AgentSpec, ...]:
    return tuple(AgentSpec(name, name.title(), tools=("clock",), handoffs=handoffs.get(name, ())) for name in names)


SWARM = TeamSpec(
    "swarm",
    "",
    TeamKind.SWARM,
    None,
    agents("alpha", "beta", "gamma", alpha=("beta", "gamma"), beta=("gamma", "alpha")),
    max_turns=5,
)
DIAMOND = TeamSpec(
    "diamond",
    "",
    TeamKind.GRAPH,
    None,
    agents("first", "left", "right", "last"),
    edges=(Edge("first", "left"), Edge("first", "right"), Edge("left", "last"), Edge("right", "last")),
    max_turns=9,
)
LOOP = TeamSpec(
    "loop",
    "",
    TeamKind.GRAPH,
    None,
    agents("writer", "critic", "end"),
    edges=(
        Edge("writer", "critic"),
        Edge("critic", "writer", when="t1.", group="again", any_of_group=True),
        Edge("critic", "writer", when="t3.", group="again", any_of_group=True),
        Edge("critic", "end", when="t5."),
    ),
    start="writer",
    max_turns=9,
)


class Counting(StreamingClient):
    """The scripted model when nobody tells it the turn: each of its answers is the next one."""

    def __init__(self, prompt: str, answers: Iterator[int]) -> None:
        super().__init__(calls_tools=True)
        self._prompt = prompt
        self._answers = answers

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        client = ScriptedClient(plan(self._prompt), next(self._answers), ModelDeadlines())
        async with aclosing(client.create_stream(messages, **options)) as pieces:
            async for piece in pieces:
                yield piece


async def undisturbed(spec: TeamSpec, prompt: str, turns: int) -> list[tuple[str, str]]:
    """What the team says in one go of AutoGen's own: speakers and texts."""
    told, answers = Told(), count()
    team = TeamBuilder(
        request(spec, prompt),
        ScriptedModel(),
        lambda _: alone(Counting(prompt, answers)),
        Tools(builtin()),
        Telling(told.emit),
    ).build()
    team._max_turns = turns
    await team.run(task=prompt)
    return said(told)


def said(told: Told) -> list[tuple[str, str]]:
    return [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]


@pytest.mark.parametrize(
    ("spec", "prompt", "turns", "speakers"),
    [
        (SWARM, "/script turns=3 tokens=2 tool=transfer_to_gamma", 3, ["gamma", "gamma"]),
        (LOOP, "/script turns=9 tokens=2", 9, ["writer", "critic"] * 3 + ["end"]),
        (replace(LOOP, start=None, edges=LOOP.edges[:1]), "/script turns=9 tokens=2", 9, ["writer", "critic", "end"]),
    ],
)
async def test_turn_by_turn_is_the_same_as_undisturbed(
    spec: TeamSpec, prompt: str, turns: int, speakers: list[str]
) -> None:
    if spec.start is None and spec.kind is TeamKind.GRAPH:
        spec = replace(spec, edges=(*spec.edges, Edge("critic", "end")))
    told, results = await whole_run(catalog(teams=[spec]).engine(spec), spec, prompt)
    assert said(told) == await undisturbed(spec, prompt, turns)
    assert [name for name, _ in said(told)] == speakers
    # Another worker, which knows only the checkpoint, does each turn again.
    again = Told()
    for turn in range(1, len(results)):
        engine = catalog(teams=[spec]).engine(spec)
        result = await one_turn(engine, request(spec, prompt, turn=turn, state=results[turn - 1].state), again)
        assert result.outcome is results[turn].outcome
    assert said(again) == said(told)[len(said(told)) - len(said(again)) :]
    assert len(said(again)) >= len(results) - 1


async def test_a_graph_does_one_wave_a_turn_side_by_side() -> None:
    told, results = await whole_run(catalog(teams=[DIAMOND]).engine(DIAMOND), DIAMOND, "/script turns=9 tokens=3")
    assert told.speakers[0] == "first"
    assert sorted(told.speakers[1:3]) == ["left", "right"]
    assert told.speakers[3:] == ["last"]
    assert sorted(said(told)) == [
        ("first", "t0.0 t0.1 t0.2 "),
        ("last", "t2.0 t2.1 t2.2 "),
        ("left", "t1.0 t1.1 t1.2 "),
        ("right", "t1.0 t1.1 t1.2 "),
    ]
    assert [result.outcome for result in results] == [Outcome.NEXT, Outcome.NEXT, Outcome.DONE]
    assert results[1].usage.completion_tokens == 6


async def test_only_tokens_overtake_each_other() -> None:
    """What is written to the log is emitted one by one, also when the log is slow."""
    inside, most = 0, 0

    async def emit(event: EngineEvent) -> None:
        nonlocal inside, most
        if isinstance(event, TextDelta):
            return
        inside += 1
        most = max(most, inside)
        for _ in range(20):
            await asyncio.sleep(0)
        inside -= 1

    engine = catalog(teams=[DIAMOND]).engine(DIAMOND)
    first = await engine.turn(request(DIAMOND, "hi"), emit, asyncio.Event())
    second = await engine.turn(request(DIAMOND, "hi", turn=1, state=first.state), emit, asyncio.Event())
    assert second.outcome is Outcome.NEXT
    assert most == 1


async def test_every_run_of_a_graph_begins_at_its_start() -> None:
    engine = catalog(teams=[DIAMOND]).engine(DIAMOND)
    _, half = await whole_run(engine, DIAMOND, "/script turns=1 tokens=1")
    told, _ = await whole_run(engine, DIAMOND, "hi", state=half[-1].state)
    assert sorted(told.speakers) == ["first", "last", "left", "right"]


async def test_what_fails_in_one_branch_fails_the_turn() -> None:
    spec = replace(DIAMOND, agents=DIAMOND.agents[:2], edges=(), name="two")
    result = await one_turn(catalog(teams=[spec]).engine(spec), request(spec, "/script fail_at=1"), Told())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_UNAVAILABLE)


async def test_branches_are_stopped_together() -> None:
    spec = replace(DIAMOND, agents=DIAMOND.agents[:2], edges=(), name="two")
    told, stop = Told(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(
            one_turn(catalog(teams=[spec]).engine(spec), request(spec, "/script tokens=9999 rate=50"), told, stop)
        )
        await until_streaming(told, 4)
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
    assert sorted(told.speakers) == ["first", "left"]


# ---- on a model's server


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


async def turn_on(fake: FakeOpenAi, mode: str, state: str | None = None, to: str | None = None) -> tuple[Told, Any]:
    made = catalog(("fake", HostedModel(fake.url, mode)), teams=[SWARM], deadlines=deadlines_for(mode))
    told = Told()
    result = await one_turn(made.engine(SWARM), request(SWARM, "Hi", state=state, to=to), told)
    await made.aclose()
    return told, result


async def test_an_agent_hands_over_and_the_next_one_answers(fake: FakeOpenAi) -> None:
    told, result = await turn_on(fake, "handoff")
    assert told.kinds == ["AgentStarted", "Handoff"]
    assert isinstance(told.events[-1], Handoff)
    assert (told.events[-1].source, told.events[-1].to) == ("alpha", "beta")
    assert result.outcome is Outcome.NEXT
    made, after = catalog(("fake", HostedModel(fake.url, "good")), teams=[SWARM]), Told()
    last = await one_turn(made.engine(SWARM), request(SWARM, "Hi", turn=1, state=result.state), after)
    assert said(after) == [("beta", "Hello from fake")]
    assert last.outcome is Outcome.DONE
    # Whom it was handed to goes on with the conversation, in the next run, too; unless somebody else is addressed.
    later, _ = await turn_on(fake, "good", last.state)
    assert later.speakers == ["beta"]
    later, _ = await turn_on(fake, "good", last.state, to="gamma")
    assert later.speakers == ["gamma"]
    await made.aclose()


async def test_who_spoke_last_goes_on_in_a_conversation_that_is_told_again(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "good")), teams=[SWARM])
    heard = [Input("bob", "Hi"), Input("alpha", "over to you", True), Input("beta", "here", True), Input("bob", "and?")]
    _, earlier = await turn_on(fake, "good")
    for state, to, speaker in ((None, None, "beta"), (earlier.state, None, "beta"), (None, "gamma", "gamma")):
        told = Told()
        await one_turn(made.engine(SWARM), request(SWARM, "and?", state=state, to=to, inputs=heard), told)
        assert told.speakers == [speaker]
    await made.aclose()


async def test_odd_handoffs_do_not_hang_the_team(fake: FakeOpenAi) -> None:
    """AutoGen waits for ever when a handoff's arguments are no object, and warns of a second one."""
    told, result = await turn_on(fake, "odd-handoff")
    assert told.kinds == ["AgentStarted", "Handoff"]
    assert result.outcome is Outcome.NEXT


async def test_tools_come_before_a_handoff(fake: FakeOpenAi) -> None:
    told, result = await turn_on(fake, "handoff-and-tool")
    assert [event.name for event in told.events if isinstance(event, ToolEnded)] == ["clock"]
    assert said(told) == [("alpha", "Hello from fake")]
    assert result.outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("malformed", Failure.MALFORMED_OUTPUT),
        ("stalling", Failure.MODEL_STALLED),
        ("unpaid", Failure.MODEL_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("spec", [SWARM, DIAMOND])
async def test_a_failure_keeps_its_name(fake: FakeOpenAi, spec: TeamSpec, mode: str, failure: Failure) -> None:
    model, deadlines = HostedModel(fake.url, mode), deadlines_for(mode)
    made = catalog(("fake", model), teams=[spec], deadlines=deadlines)
    result = await one_turn(made.engine(spec), request(spec, "Hi"), Told())
    await made.aclose()
    assert (result.outcome, result.failure, result.state) == (Outcome.FAILED, failure, None)


async def test_a_graph_runs_on_a_server(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "good")), teams=[DIAMOND])
    told, _ = await whole_run(made.engine(DIAMOND), DIAMOND, "Hi")
    await made.aclose()
    assert sorted(told.speakers) == ["first", "last", "left", "right"]
    last = fake.requests[-1]["messages"][-1]["content"]
    assert all(f"{name} said:\nHello from fake" in last for name in ("first", "left", "right"))


# ---- what of AutoGen we work around


async def test_autogen_does_not_save_who_was_handed_to() -> None:
    """Should this fail, `state._prune_manager` need not look for the handoff any more."""
    prompt = "/script turns=1 tool=transfer_to_beta"
    client = ScriptedClient(plan(prompt), 0, ModelDeadlines())
    team = TeamBuilder(
        request(SWARM, prompt), ScriptedModel(), lambda _: alone(client), Tools(builtin()), Telling(Told().emit)
    ).build()
    await team.run(task=prompt)
    saved = await team.save_state()
    (manager,) = [state for state in saved["agent_states"].values() if "current_speaker" in state]
    assert manager["current_speaker"] == "alpha"
    assert manager["message_thread"][-1]["type"] == "HandoffMessage"
    assert manager["message_thread"][-1]["target"] == "beta"


async def test_autogen_does_not_save_what_has_fired() -> None:
    """Should this fail, `HubGraphManager` is not needed any more (autogen#7043)."""
    _, results = await whole_run(catalog(teams=[LOOP]).engine(LOOP), LOOP, "/script turns=2 tokens=1")
    agents_of_state = orjson.loads(results[-1].state or "")["team"]["agent_states"]
    (manager,) = [state for state in agents_of_state.values() if "ready" in state]
    assert manager["fired"] == {"critic": [], "writer": ["again"]}
    client = ScriptedClient(plan("x"), 0, ModelDeadlines())
    team = TeamBuilder(
        request(LOOP, "x"), ScriptedModel(), lambda _: alone(client), Tools(builtin()), Telling(Told().emit)
    ).build()
    assert isinstance(team, HubGraph)
    team._base_group_chat_manager_class = GraphFlowManager
    made = team._create_group_chat_manager_factory("m", "g", "o", [], [], [], asyncio.Queue(), None, 1, None)()
    assert "fired" not in await GraphFlowManager.save_state(made)
