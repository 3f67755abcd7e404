"""Teams whose model picks the next speaker."""

from collections.abc import AsyncIterator

import pytest

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.base import Failure, Outcome
from hub.engine.models.registry import HostedModel
from tests.engine.driving import Told, catalog, one_turn, request, whole_run
from tests.engine.fake_openai import FakeOpenAi, fake_openai

AGENTS = tuple(AgentSpec(name, name.title(), description=f"The {name}.") for name in ("alpha", "beta", "gamma"))


def team(prompt: str | None = None) -> TeamSpec:
    return TeamSpec("three", "", TeamKind.SELECTOR, None, AGENTS, max_turns=3, selector_prompt=prompt)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


async def test_the_model_picks_and_is_counted(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "selector")), teams=[team()])
    told, results = await whole_run(made.engine(team()), team(), "Hi {all}")
    await made.aclose()
    # It always says beta, who may not speak twice running: then it is the turn of the next.
    assert told.speakers == ["beta", "gamma", "beta"]
    assert [result.usage.prompt_tokens for result in results] == [22, 22, 22]
    asked = fake.requests[0]["messages"][0]["content"]
    assert "alpha: The alpha." in asked
    assert "bob: Hi {all}" in asked
    assert "alpha, beta, gamma" in asked
    assert "grammar" not in fake.requests[0]


async def test_a_grammar_leaves_no_other_answer(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "selector", takes_grammar=True)), teams=[team()])
    await whole_run(made.engine(team()), team(), "Hi")
    await made.aclose()
    assert fake.requests[0]["grammar"] == 'root ::= "alpha" | "beta" | "gamma"'
    assert fake.requests[2]["grammar"] == 'root ::= "alpha" | "gamma"'


async def test_a_team_brings_its_own_question(fake: FakeOpenAi) -> None:
    asking = team("Of {participants}, who? {other}")
    made = catalog(("fake", HostedModel(fake.url, "good")), teams=[asking])
    told, _ = await whole_run(made.engine(asking), asking, "Hi")
    await made.aclose()
    assert fake.requests[0]["messages"][0]["content"] == "user said:\nOf alpha, beta, gamma, who? {other}"
    assert told.speakers == ["alpha", "beta", "gamma"]  # the answer names nobody


async def test_the_agent_spoken_to_answers(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "selector")), teams=[team()])
    _, results = await whole_run(made.engine(team()), team(), "Hi", to="beta")
    told, _ = await whole_run(made.engine(team()), team(), "And again", to="beta", state=results[-1].state)
    await made.aclose()
    assert told.speakers == ["beta"]


async def test_without_a_model_they_speak_in_turn() -> None:
    made = catalog(teams=[team()])
    told, _ = await whole_run(made.engine(team()), team(), "/script turns=4 tokens=1")
    assert told.speakers == ["alpha", "beta", "gamma", "alpha"]
    assert told.texts == [f"t{turn}.0 " for turn in range(4)]


async def test_a_choice_that_fails_keeps_its_name(fake: FakeOpenAi) -> None:
    made = catalog(("fake", HostedModel(fake.url, "unpaid")), teams=[team()])
    told = Told()
    result = await one_turn(made.engine(team()), request(team(), "Hi"), told)
    await made.aclose()
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_UNAVAILABLE)
    assert told.events == []
