"""The dialogue that a very small model is shown."""

from collections.abc import Sequence

from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage, LLMMessage, SystemMessage, UserMessage

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.models.directed import BRIEFING, SHOWN_CHARACTERS, Direction

WRITER = AgentSpec("writer", "Writer", instructions="Answer.")
CRITIC = AgentSpec("critic", "Critic", instructions="Criticise.")
TEAM = TeamSpec("duo", "", TeamKind.ROUND_ROBIN, None, (WRITER, CRITIC))


def shown(speaker: AgentSpec, *messages: LLMMessage) -> Sequence[tuple[str, str]]:
    dialogue = Direction(TEAM, speaker).dialogue([SystemMessage(content="ignored"), *messages])
    return [(message["role"], message["content"]) for message in dialogue]


def said(source: str, text: str) -> LLMMessage:
    return UserMessage(content=text, source=source)


def own(text: str) -> LLMMessage:
    return AssistantMessage(content=text, source="critic")


def test_the_first_agent_is_asked_with_its_task() -> None:
    assert shown(WRITER, said("bob", "Why?")) == [("system", BRIEFING), ("user", "Why?\n\nAnswer.")]


def test_the_second_sees_what_the_first_saw_and_said() -> None:
    first = shown(WRITER, said("bob", "Why?"))
    second = shown(CRITIC, said("bob", "Why?"), said("writer", "Because."))
    assert second == [*first, ("assistant", "Because."), ("user", "Criticise.")]


def test_of_earlier_exchanges_the_last_is_shown_with_its_first_answer() -> None:
    conversation = [said("bob", "One?"), said("writer", "1"), own("Hm."), said("bob", "Two?"), said("writer", "2")]
    assert shown(CRITIC, *conversation, own("Hm."), said("eve", "And"), said("bob", "three?"), said("writer", "3")) == [
        ("system", BRIEFING),
        ("user", "Two?\n\nAnswer."),
        ("assistant", "2"),
        ("user", "And\n\nthree?\n\nAnswer."),
        ("assistant", "3"),
        ("user", "Criticise."),
    ]


def test_a_long_message_is_shown_in_part_and_tool_calls_are_not() -> None:
    call = AssistantMessage(content=[FunctionCall(id="1", name="n", arguments="{}")], source="writer")
    (_, (_, text)) = shown(WRITER, said("bob", "x" * 30_000), call)
    assert len(text) == SHOWN_CHARACTERS + len("\n\nAnswer.")


def test_there_is_always_a_question() -> None:
    silent = TeamSpec("t", "", TeamKind.ROUND_ROBIN, None, (AgentSpec("a", "A"),))
    assert Direction(silent, silent.agents[0]).dialogue([])[-1] == {"role": "user", "content": "Go on."}
