"""What agents keep of long conversations, and how soon a turn begins in one."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)

from hub.domain.team import AgentSpec, Keep, Memory, TeamKind, TeamSpec
from hub.engine.autogen.context import RecentContext, whole_calls
from hub.engine.base import Failure, Input, Outcome
from hub.engine.models.registry import HostedModel
from tests.engine.driving import Told, catalog, one_turn, request
from tests.engine.fake_openai import FakeOpenAi, fake_openai

CALL = AssistantMessage(content=[FunctionCall(id="c", name="clock", arguments="{}")], source="a")
RESULT = FunctionExecutionResultMessage(
    content=[FunctionExecutionResult(content="noon", name="clock", call_id="c", is_error=False)]
)


def said(text: str) -> UserMessage:
    return UserMessage(content=text, source="bob")


def words(messages: Sequence[LLMMessage]) -> str:
    """A conversation of messages of a letter each; `(` is a call, `)` its result."""
    signs = {CALL.type: "(", RESULT.type: ")"}
    return "".join(m.content if isinstance(m.content, str) else signs[m.type] for m in messages)


async def kept(memory: Memory, letters: str, characters: int | None = None) -> str:
    """What is left of this conversation."""
    context = RecentContext("a", characters, memory)
    signs: dict[str, LLMMessage] = {"(": CALL, ")": RESULT}
    for letter in letters:
        await context.add_message(signs.get(letter) or said(letter))
    shown = words(await context.get_messages())
    if characters is None:
        assert words(context._messages) == shown, "what is not shown is not in the checkpoint"
    return shown


@pytest.mark.parametrize(
    ("memory", "conversation", "left"),
    [
        (Memory(), "abcdef", "abcdef"),
        (Memory(Keep.LAST, last=2), "abcdef", "ef"),
        (Memory(Keep.LAST, last=9), "abcdef", "abcdef"),
        (Memory(Keep.LAST, last=2), "abc()e", "e"),  # a result without its call
        (Memory(Keep.LAST, last=3), "abc()e", "()e"),
        (Memory(Keep.ENDS, first=1, last=2), "abcdef", "aef"),
        (Memory(Keep.ENDS, first=2, last=2), "abc", "abc"),
        (Memory(Keep.ENDS, first=2, last=2), "a()def", "aef"),  # a call without its result
        (Memory(Keep.TOKENS, tokens=1), "abcdef", "cdef"),
    ],
)
async def test_what_is_kept(memory: Memory, conversation: str, left: str) -> None:
    assert await kept(memory, conversation) == left


async def test_what_a_model_has_room_for_is_shown_of_what_is_kept() -> None:
    assert await kept(Memory(Keep.LAST, last=4), "abcdef", characters=2) == "ef"
    assert whole_calls([RESULT, CALL, said("x"), CALL, RESULT]) == [said("x"), CALL, RESULT]


# ---- summaries, on a server


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAi]:
    async with fake_openai() as server:
        yield server


def solo(memory: Memory, model: str | None = None) -> TeamSpec:
    return TeamSpec(
        "solo", "", TeamKind.ROUND_ROBIN, "team", (AgentSpec("alpha", "Alpha", model=model, memory=memory),)
    )


async def test_older_messages_become_a_summary(fake: FakeOpenAi) -> None:
    team = solo(Memory(Keep.SUMMARY, last=4), model="own")
    models = [("own", HostedModel(fake.url, "good")), ("team", HostedModel(fake.url, "aloud"))]
    made = catalog(*models, teams=[team])
    state, calls = None, list[list[str]]()
    for number in range(8):
        result = await one_turn(made.engine(team), request(team, f"Question {number}", state=state), Told())
        assert result.outcome is not Outcome.FAILED
        state = result.state
        calls.append([call.model for call in result.model_calls])
    await made.aclose()
    # At nine messages the five oldest become one, which is among the five oldest of the next nine.
    assert calls == [["own"]] * 4 + [["team", "own"], ["own"], ["team", "own"], ["own"]]
    asked = [body["messages"] for body in fake.requests if body["model"] == "aloud"]
    assert "bob: Question 0\n\nalpha: Hello from fake" in asked[0][-1]["content"]
    assert "summary: What was said before, in short:\nwell yes" in asked[1][-1]["content"]
    shown = fake.requests[-1]["messages"]
    assert shown[0]["content"].startswith("summary said:\nWhat was said before, in short:\nwell yes")
    assert shown[-1]["content"] == "bob said:\nQuestion 7"
    agents = orjson.loads(state or "")["team"]["agent_states"]
    assert len(agents["alpha"]["agent_state"]["llm_context"]["messages"]) <= 9


async def test_a_summary_that_fails_breaks_nothing(fake: FakeOpenAi) -> None:
    team = solo(Memory(Keep.SUMMARY, last=1), model="own")
    made = catalog(
        ("own", HostedModel(fake.url, "good")), ("team", HostedModel(fake.url, "broken", retries=0)), teams=[team]
    )
    given = [Input("bob", f"Question {number}") for number in range(4)]
    told = Told()
    result = await one_turn(made.engine(team), request(team, "x", inputs=given), told)
    await made.aclose()
    assert (result.outcome, told.texts) == (Outcome.NEXT, ["Hello from fake"])
    assert [(call.model, call.agent, call.error) for call in result.model_calls] == [
        ("team", None, "model_unavailable: HTTP 500"), ("own", "alpha", None),
    ]  # fmt: skip
    assert "Question 0" in str(fake.requests[-1]["messages"]), "nothing is lost"


async def test_a_summary_that_fails_is_not_the_turns_failure(fake: FakeOpenAi) -> None:
    team = solo(Memory(Keep.SUMMARY, last=1), model="own")
    made = catalog(
        ("own", HostedModel(fake.url, "prude")), ("team", HostedModel(fake.url, "broken", retries=0)), teams=[team]
    )
    given = [Input("bob", f"Question {number}") for number in range(4)]
    result = await one_turn(made.engine(team), request(team, "x", inputs=given), Told())
    await made.aclose()
    assert (result.outcome, result.failure) == (Outcome.FAILED, Failure.MODEL_REFUSED)


# ---- a session of 2,000 messages


def long_state(team: TeamSpec, state: str, messages: int) -> str:
    """A checkpoint as it would be if nothing had pruned it."""
    envelope: dict[str, Any] = orjson.loads(state)
    for agent in team.agents:
        context = envelope["team"]["agent_states"][agent.name]["agent_state"]["llm_context"]["messages"]
        text = "x" * 200
        context[:0] = [{"content": text, "source": "bob", "type": "UserMessage"}] * messages
    return orjson.dumps(envelope).decode()


@pytest.mark.parametrize("memory", [Memory(), Memory(Keep.LAST, last=20)], ids=["all", "last"])
async def test_a_turn_of_a_long_session_begins_soon(memory: Memory) -> None:
    """In CPU time, which a busy machine does not stretch."""
    agents = (AgentSpec("alpha", "Alpha", memory=memory), AgentSpec("beta", "Beta", memory=memory))
    team = TeamSpec("pair", "", TeamKind.ROUND_ROBIN, "scripted", agents)
    made = catalog(teams=[team])
    engine = made.engine(team)
    first = await one_turn(engine, request(team, "/script turns=2 tokens=1"), Told())
    state = long_state(team, first.state or "", 2_000)
    sealed = await one_turn(engine, request(team, "/script tokens=1", state=state, to="alpha"), Told())
    assert (
        len(orjson.loads(sealed.state or "")["team"]["agent_states"]["beta"]["agent_state"]["llm_context"]["messages"])
        <= 400
    )
    asked = request(team, "/script tokens=1", state=sealed.state, to="alpha")
    took = list[float]()
    for _ in range(5):
        began = time.process_time()
        await one_turn(engine, replace(asked), Told())
        took.append(time.process_time() - began)
    await made.aclose()
    assert min(took) < 0.05, took
