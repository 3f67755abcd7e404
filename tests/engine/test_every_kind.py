"""Teams of every kind on a model's server, well and badly behaved: each turn by an engine that knows only the
checkpoint."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.engine.base import Failure, MessageEnded, Outcome, ToolEnded, ToolStarted, TurnResult
from hub.engine.models.registry import HostedModel
from tests import kinds
from tests.engine.driving import Told, catalog, deadlines_for, request
from tests.engine.fake_openai import FakeOpenAi, fake_openai

HELLO = "Hello from fake"
SAID = {
    "round_robin": [("alpha", HELLO), ("beta", HELLO)] * 2,
    "selector": [("alpha", HELLO), ("beta", HELLO)] * 2,
    "swarm": [("alpha", HELLO)],
    "graph": [("alpha", HELLO), ("beta", HELLO), ("delta", HELLO), ("gamma", HELLO)],
    "magentic": [
        ("orchestrator", "Do part 0."),
        ("alpha", HELLO),
        ("orchestrator", "Do part 1."),
        ("beta", HELLO),
        ("orchestrator", "ANSWER"),
    ],
    "nested": [("first", HELLO), ("second", HELLO), ("alpha", HELLO)] * 2,
    "society": [("desk", HELLO), ("alpha", HELLO)] * 2,
}
FAILURES = {
    "malformed": Failure.MALFORMED_OUTPUT,
    "error-event": Failure.MODEL_UNAVAILABLE,
    "stalling": Failure.MODEL_STALLED,
    "dropped": Failure.MODEL_UNAVAILABLE,
    "truncated": Failure.MALFORMED_OUTPUT,
    "limited": Failure.MODEL_RATE_LIMITED,
    "unpaid": Failure.MODEL_UNAVAILABLE,
    "prude": Failure.MODEL_REFUSED,
    "long": Failure.CONTEXT_TOO_LONG,
}


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


async def played(fake: FakeOpenAi, kind: str, mode: str) -> tuple[Told, list[TurnResult]]:
    """A run of the team, whose agents are on that model."""
    team = kinds.team(kind, "lead", "agents")
    models = ("agents", HostedModel(fake.url, mode)), ("lead", HostedModel(fake.url, "leading"))
    told, results = Told(), list[TurnResult]()
    while not results or results[-1].outcome is Outcome.NEXT:
        made = catalog(*models, teams=[team], deadlines=deadlines_for(mode))
        asked = request(team, "Hi", turn=len(results), state=results[-1].state if results else None)
        async with asyncio.timeout(30):
            results.append(await made.engine(team).turn(asked, told.emit, asyncio.Event()))
        await made.aclose()
    return told, results


@pytest.mark.parametrize("kind", kinds.SHAPES)
async def test_it_speaks_and_calls_tools(fake: FakeOpenAi, kind: str) -> None:
    told, results = await played(fake, kind, "clock")
    assert results[-1].outcome is Outcome.DONE
    said = [(event.agent.name, event.text) for event in told.events if isinstance(event, MessageEnded)]
    assert (sorted(said) if kind == "graph" else said) == SAID[kind]
    assert told.streamed.count(HELLO) == sum(text == HELLO for _, text in said)
    called = [event.call for event in told.events if isinstance(event, ToolStarted)]
    returned = [event.call for event in told.events if isinstance(event, ToolEnded) and not event.is_error]
    assert sorted(called) == sorted(returned)
    assert called
    assert len(fake.requests) == sum(len(result.model_calls) for result in results), "every call is put down"
    assert sum(result.usage.prompt_tokens for result in results) == 11 * len(fake.requests)


@pytest.mark.parametrize("kind", kinds.SHAPES)
async def test_what_goes_wrong_keeps_its_name(fake: FakeOpenAi, kind: str) -> None:
    """All at once: most of the time passes in waiting for what stalls."""

    async def fails(mode: str) -> Failure | None:
        _, results = await played(fake, kind, mode)
        assert results[-1].outcome is Outcome.FAILED, (mode, results[-1])
        assert results[-1].state is None
        return results[-1].failure

    found = await asyncio.gather(*(fails(mode) for mode in FAILURES))
    assert dict(zip(FAILURES, found, strict=True)) == FAILURES
