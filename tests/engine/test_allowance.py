"""A turn ends where its allowance does, on every engine, and what it has used is told."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from hub.domain.budget import Budgets, BudgetScope, Limit, Quantity
from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.allowance import Allowance, OverBudget
from hub.engine.base import Failure, Outcome, TextDelta, TurnResult
from hub.engine.models.registry import HostedModel, Price
from tests.engine.driving import Told, catalog, one_turn, request
from tests.engine.fake_openai import FakeOpenAi, fake_openai

ALPHA = AgentSpec("alpha", "Alpha", tools=("clock", "counter"))
SCRIPTED = TeamSpec("scripted", "", TeamKind.SCRIPTED, "scripted", (ALPHA,), max_turns=9)
AUTOGEN = replace(SCRIPTED, name="autogen", kind=TeamKind.ROUND_ROBIN)
PRICED = replace(AUTOGEN, name="priced", model="priced", max_turns=1)


def budgets(quantity: Quantity, amount: int) -> Budgets:
    return Budgets([Limit(BudgetScope.RUN, quantity, amount)])


async def scripted(team: TeamSpec, prompt: str, allowance: Allowance) -> tuple[Told, TurnResult]:
    told, teams = Told(), catalog(teams=[SCRIPTED, AUTOGEN])
    result = await one_turn(teams.engine(team), replace(request(team, prompt), allowance=allowance), told)
    await teams.aclose()
    return told, result


@pytest.mark.parametrize("team", [SCRIPTED, AUTOGEN], ids=["scripted", "autogen"])
async def test_a_stream_ends_at_the_limit(team: TeamSpec) -> None:
    told, result = await scripted(team, "/script tokens=50", Allowance(budgets(Quantity.TOKENS, 20)))
    assert (result.outcome, result.failure, result.state) == (Outcome.FAILED, Failure.BUDGET_EXCEEDED, None)
    pieces = sum(isinstance(event, TextDelta) for event in told.events)
    assert 5 < pieces < 20
    assert result.usage.completion_tokens == pieces + 1  # the piece that reaches the limit is not shown


@pytest.mark.parametrize("team", [SCRIPTED, AUTOGEN], ids=["scripted", "autogen"])
async def test_a_limit_that_was_raised_meanwhile_ends_nothing(team: TeamSpec) -> None:
    looked = list[int]()

    async def look() -> Budgets:
        looked.append(1)
        return budgets(Quantity.TOKENS, 1_000)

    told, result = await scripted(team, "/script tokens=50", Allowance(budgets(Quantity.TOKENS, 20), look))
    assert result.outcome is Outcome.NEXT
    assert (len(told.texts[0].split()), looked) == (50, [1])


@pytest.mark.parametrize("team", [SCRIPTED, AUTOGEN], ids=["scripted", "autogen"])
async def test_tool_calls_beyond_the_limit_are_not_made(team: TeamSpec) -> None:
    allowance = Allowance(budgets(Quantity.TOOL_CALLS, 0))
    told, result = await scripted(team, "/script tokens=2 tool=clock", allowance)
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.BUDGET_EXCEEDED)
    assert told.kinds == ["AgentStarted"]
    assert allowance.reached is not None
    assert (allowance.reached.used, allowance.reached.limit.quantity) == (1, Quantity.TOOL_CALLS)
    _, result = await scripted(team, "/script tokens=2 tool=clock", Allowance(budgets(Quantity.TOOL_CALLS, 1)))
    assert result.outcome is Outcome.NEXT


async def test_without_limits_nothing_is_counted() -> None:
    allowance = Allowance()
    await scripted(AUTOGEN, "/script tokens=50 tool=clock", allowance)
    assert not allowance.is_bounded
    assert not allowance.is_over


# ---- money, on a model that has a price


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


async def priced(fake: FakeOpenAi, mode: str, micros: int, prompt: str = "Hi") -> TurnResult:
    """A turn that may cost so much; of the model a sent token costs 2, and a piece of an answer 10 millionths."""
    teams = catalog(("priced", HostedModel(fake.url, mode, price=Price(2, 10), retries=0)), teams=[PRICED])
    asked = replace(request(PRICED, prompt), allowance=Allowance(budgets(Quantity.COST, micros)))
    result = await one_turn(teams.engine(PRICED), asked, Told())
    await teams.aclose()
    return result


async def test_a_call_that_there_is_no_money_for_is_not_made(fake: FakeOpenAi) -> None:
    result = await priced(fake, "good", 100, prompt="word " * 100)
    assert (result.failure, fake.requests, result.model_calls) == (Failure.BUDGET_EXCEEDED, [], ())
    assert (await priced(fake, "good", 100)).outcome is Outcome.DONE


async def test_money_ends_a_stream_and_closes_its_connection(fake: FakeOpenAi) -> None:
    result = await priced(fake, "endless", 200)
    assert result.failure is Failure.BUDGET_EXCEEDED
    (call,) = result.model_calls
    assert (call.error, call.usage.completion_tokens) == ("OverBudget", 20)
    assert 200 <= call.usage.cost_micros < 220


async def test_what_the_provider_reports_corrects_the_guess() -> None:
    allowance = Allowance(budgets(Quantity.TOKENS, 100))
    await allowance.spend(60, 0)
    with pytest.raises(OverBudget):
        await allowance.spend(60, 0)
    allowance.add(-50, 0)
    await allowance.spend(60, 0)
    assert not allowance.is_over
