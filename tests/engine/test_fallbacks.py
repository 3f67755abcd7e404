"""Models that stand in for others, and the account of every call."""

from collections.abc import AsyncIterator

import pytest

from hub.domain.run import ModelCall, Usage
from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.base import Failure, Input, Outcome, TurnResult
from hub.engine.models.registry import HostedModel, Model, Price
from tests.engine.driving import Told, catalog, one_turn, request, whole_run
from tests.engine.fake_openai import FakeOpenAi, fake_openai

TEAM = TeamSpec("solo", "", TeamKind.ROUND_ROBIN, "first", (AgentSpec("alpha", "Alpha"),), max_turns=1)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


async def turn(fake: FakeOpenAi, *modes: str) -> tuple[Told, TurnResult]:
    """A turn on the first of these models, for which the others stand in."""
    names = ["first", "second", "third"][: len(modes)]
    models: list[tuple[str, Model]] = []
    for name, mode in zip(names, modes, strict=True):
        others = names[1:] if name == "first" else ()
        models.append((name, HostedModel(fake.url, mode, retries=0, price=Price(2, 10), fallbacks=others)))
    told, teams = Told(), catalog(*models, teams=[TEAM])
    result = await one_turn(teams.engine(TEAM), request(TEAM, "Hi"), told)
    await teams.aclose()
    return told, result


async def test_the_next_model_is_asked_before_the_first_token(fake: FakeOpenAi) -> None:
    told, result = await turn(fake, "broken", "limited", "good")
    assert (result.outcome, told.texts) == (Outcome.DONE, ["Hello from fake"])
    assert result.model_calls == (
        ModelCall("first", "alpha", Usage(), error="model_unavailable: HTTP 500"),
        ModelCall("second", "alpha", Usage(), error="model_rate_limited: HTTP 429"),
        ModelCall("third", "alpha", Usage(11, 7, 92), finish="stop"),
    )
    assert result.usage == Usage(11, 7, 92)
    assert told.kinds == ["AgentStarted", "TextDelta", "MessageEnded"]


@pytest.mark.parametrize(
    ("mode", "failure"),
    [("dropped", Failure.MODEL_UNAVAILABLE), ("prude", Failure.MODEL_REFUSED), ("filtered", Failure.MODEL_REFUSED)],
)
async def test_nobody_else_is_asked_after_a_token_or_a_refusal(fake: FakeOpenAi, mode: str, failure: Failure) -> None:
    _, result = await turn(fake, mode, "good")
    assert (result.outcome, result.failure) == (Outcome.FAILED, failure)
    assert len(result.model_calls) == 1


async def test_the_last_failure_is_the_turns(fake: FakeOpenAi) -> None:
    _, result = await turn(fake, "limited", "unpaid")
    assert (result.failure, len(result.model_calls)) == (Failure.MODEL_UNAVAILABLE, 2)
    assert "HTTP 401" in str(result.detail)


async def test_a_failure_that_was_made_good_is_not_the_turns(fake: FakeOpenAi) -> None:
    """What breaks after a model has stood in is told by its own name."""
    _, result = await turn(fake, "broken", "twins")
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MALFORMED_OUTPUT)


async def test_without_reported_usage_pieces_are_counted(fake: FakeOpenAi) -> None:
    _, result = await turn(fake, "no-usage")
    assert result.usage.completion_tokens == 3
    assert result.usage.prompt_tokens > 0
    assert result.usage.cost_micros > 0


async def test_each_agent_has_its_own_model(fake: FakeOpenAi) -> None:
    """And its own temperature and length, for whoever stands in, too."""
    agents = (
        AgentSpec("alpha", "Alpha", model="second", temperature=0.25, max_tokens=50),
        AgentSpec("beta", "Beta"),
        AgentSpec("gamma", "Gamma", model="third", max_tokens=70),
    )
    team = TeamSpec("trio", "", TeamKind.ROUND_ROBIN, "first", agents, max_turns=3)
    teams = catalog(
        ("first", HostedModel(fake.url, "good", parameters={"temperature": 0.5}, max_tokens=10)),
        ("second", HostedModel(fake.url, "broken", retries=0, parameters={"temperature": 0.7}, fallbacks=["first"])),
        ("third", HostedModel(fake.url, "reasoning")),
        teams=[team],
    )
    _, results = await whole_run(teams.engine(team), team, "Hi")
    await teams.aclose()
    assert [[call.model for call in result.model_calls] for result in results] == [
        ["second", "first"], ["first"], ["third"],
    ]  # fmt: skip
    asked = [(body["model"], body.get("temperature"), body.get("max_tokens")) for body in fake.requests]
    assert asked == [("broken", 0.25, 50), ("good", 0.25, 50), ("good", 0.5, 10), ("reasoning", None, 70)]


async def test_an_agent_is_shown_what_its_own_model_has_room_for(fake: FakeOpenAi) -> None:
    team = TeamSpec("solo", "", TeamKind.ROUND_ROBIN, "large", (AgentSpec("alpha", "Alpha", model="small"),))
    teams = catalog(
        ("large", HostedModel(fake.url, "good", context_characters=100_000)),
        ("small", HostedModel(fake.url, "good", context_characters=10)),
        teams=[team],
    )
    given = [Input("bob", "x" * 40), Input("bob", "short")]
    await one_turn(teams.engine(team), request(team, "short", inputs=given), Told())
    await teams.aclose()
    assert [message["content"] for message in fake.requests[0]["messages"]] == ["bob said:\nshort"]


def test_an_agents_model_must_exist() -> None:
    team = TeamSpec("solo", "", TeamKind.ROUND_ROBIN, None, (AgentSpec("alpha", "Alpha", model="no-such"),))
    with pytest.raises(ValueError, match="needs 'no-such'"):
        catalog(teams=[team])
