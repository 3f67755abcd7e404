"""Teams with an orchestrator: what it thinks is metered and not told, what it asks and answers is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from hub.domain.budget import Budgets, BudgetScope, Quantity, limit_of
from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.allowance import Allowance
from hub.engine.base import Failure, Input, MessageEnded, Outcome, ToolEnded, TurnResult
from hub.engine.models.registry import HostedModel, ModelDeadlines
from tests.engine.driving import Told, catalog, deadlines_for, one_turn, request, until_streaming, whole_run
from tests.engine.fake_openai import FakeOpenAi, fake_openai

TEAM = TeamSpec(
    "led",
    "",
    TeamKind.MAGENTIC,
    None,
    tuple(AgentSpec(name, name.title(), tools=("clock", "counter")) for name in ("alpha", "beta")),
    max_turns=6,
)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


def said(told: Told) -> list[tuple[str, str]]:
    return [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]


async def run_on(
    fake: FakeOpenAi, mode: str, team: TeamSpec = TEAM, *, state: str | None = None, prompt: str = "Build it"
) -> tuple[Told, list[TurnResult]]:
    """All turns of a run, each by an engine that knows the checkpoint only; until it ends or fails."""
    told, results = Told(), list[TurnResult]()
    while not results or results[-1].outcome is Outcome.NEXT:
        made = catalog(("fake", HostedModel(fake.url, mode)), teams=[team], deadlines=deadlines_for(mode))
        asked = request(team, prompt, turn=len(results), state=results[-1].state if results else state)
        results.append(await one_turn(made.engine(team), asked, told))
        await made.aclose()
    return told, results


async def test_it_plans_asks_each_agent_and_answers(fake: FakeOpenAi) -> None:
    told, results = await run_on(fake, "leading")
    assert said(told) == [
        ("orchestrator", "Do part 0."),
        ("alpha", "Hello from fake"),
        ("orchestrator", "Do part 1."),
        ("beta", "Hello from fake"),
        ("orchestrator", "ANSWER"),
    ]
    assert [result.outcome for result in results] == [Outcome.NEXT, Outcome.NEXT, Outcome.DONE]
    # Facts, plan, three ledgers, two agents, the answer: each is in the account.
    assert [len(result.model_calls) for result in results] == [4, 2, 2]
    assert all(call.usage.prompt_tokens == 11 and call.error is None for r in results for call in r.model_calls)
    shown = fake.requests[-3]["messages"]  # what beta was told
    assert "PLAN" in str(shown)
    assert str(shown).count("Do part") == 2
    # The next run knows what was said, though agents forget it with every plan.
    before = len(fake.requests)
    await run_on(fake, "leading", state=results[-1].state, prompt="Shorter")
    first = fake.requests[before]["messages"][-1]["content"]
    assert all(words in first for words in ("bob said:\nBuild it", "said:\nANSWER", "Shorter"))


async def test_a_ledger_that_cannot_be_read_is_asked_for_again(fake: FakeOpenAi) -> None:
    for mode in ("leading-odd", "leading-deep"):
        told, results = await run_on(fake, mode)
        assert said(told)[-1] == ("orchestrator", "ANSWER")
        assert [len(result.model_calls) for result in results] == [5, 3, 3]
    told, results = await run_on(fake, "leading-mad")
    assert (results[-1].outcome, results[-1].failure) == (Outcome.FAILED, Failure.MALFORMED_OUTPUT)
    assert len(results[-1].model_calls) == 5
    assert said(told) == []


async def test_without_progress_it_plans_anew_and_ends_all_the_same(fake: FakeOpenAi) -> None:
    team = replace(TEAM, max_turns=4, max_stalls=2)
    told, results = await run_on(fake, "leading-stuck", team)
    assert [name for name, _ in said(told)] == ["orchestrator", "alpha"] * 3 + ["orchestrator"]
    assert said(told)[-1] == ("orchestrator", "ANSWER")
    # facts, plan, ledger, agent / ledger, facts, plan, ledger, agent / the same again / answer
    assert [len(result.model_calls) for result in results] == [4, 5, 5, 1]


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("malformed", Failure.MALFORMED_OUTPUT),
        ("stalling", Failure.MODEL_STALLED),
        ("unpaid", Failure.MODEL_UNAVAILABLE),
        ("prude", Failure.MODEL_REFUSED),
    ],
)
async def test_a_failure_of_the_orchestrator_keeps_its_name(fake: FakeOpenAi, mode: str, failure: Failure) -> None:
    told, results = await run_on(fake, mode)
    assert (results[-1].outcome, results[-1].failure, results[-1].state) == (Outcome.FAILED, failure, None)
    assert told.events == []
    assert results[-1].model_calls


@pytest.mark.parametrize("mode", ["silent", "endless"])
async def test_a_stop_ends_it_while_it_thinks(fake: FakeOpenAi, mode: str) -> None:
    made = catalog(("fake", HostedModel(fake.url, mode)), teams=[TEAM], deadlines=ModelDeadlines(60, 60))
    told, stop = Told(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(one_turn(made.engine(TEAM), request(TEAM, "Hi"), told, stop))
        async with asyncio.timeout(30):
            while not fake.requests:
                fake.more.clear()
                await fake.more.wait()
        begun = asyncio.get_running_loop().time()
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
    assert asyncio.get_running_loop().time() - begun < 15
    assert told.events == []
    await made.aclose()


async def test_its_thinking_is_paid_out_of_the_budget(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "leading")), teams=[TEAM])
    budgets = Budgets((limit_of(BudgetScope.RUN, Quantity.TOKENS, 40),))
    asked = replace(request(TEAM, "Hi"), allowance=Allowance(budgets))
    result = await one_turn(made.engine(TEAM), asked, Told())
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.BUDGET_EXCEEDED)
    await made.aclose()


async def test_on_the_scripted_model_agents_speak_in_turn_and_the_orchestrator_last() -> None:
    engine = catalog(teams=[TEAM]).engine(TEAM)
    told, results = await whole_run(engine, TEAM, "/script turns=4 tokens=1 tool=clock")
    assert said(told) == [("alpha", "t0.0 "), ("beta", "t1.0 "), ("alpha", "t2.0 "), ("orchestrator", "t3.0 ")]
    assert sum(isinstance(event, ToolEnded) for event in told.events) == 1
    told, _ = await whole_run(engine, TEAM, "again", state=results[-1].state, to="beta")
    assert said(told) == [("beta", "again")]


async def test_a_message_between_its_turns_reaches_everybody(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "leading")), teams=[TEAM])
    first = await one_turn(made.engine(TEAM), request(TEAM, "Build it"), Told())
    steered = request(TEAM, "Build it", turn=1, state=first.state, inputs=[Input("ada", "in green")])
    await one_turn(made.engine(TEAM), steered, Told())
    ledger, agent = fake.requests[-2:]
    assert "in green" in str(ledger["messages"])
    assert "in green" in str(agent["messages"])
    assert len(fake.requests) == 6, "and there is no new plan for it"
    await made.aclose()


async def test_a_stop_ends_an_agent_it_leads() -> None:
    told, stop = Told(), asyncio.Event()
    asked = request(TEAM, "/script tokens=9999 rate=50")
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(one_turn(catalog(teams=[TEAM]).engine(TEAM), asked, told, stop))
        await until_streaming(told, 3)
        stop.set()
    assert turn.result().outcome is Outcome.CANCELLED
