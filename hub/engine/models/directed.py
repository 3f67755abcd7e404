"""How a very small model is shown a conversation of several agents.

A model of some hundred million parameters that sees names begins to play all the roles, and one that sees a long
conversation repeats it. So it is shown a plain dialogue with one assistant: what a person said, then, for each agent
that has answered since, what that agent was asked to do and what it said. The beginning is the same for all agents of a
run, so that a server which caches prompts reads only what is new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autogen_core.models import AssistantMessage, LLMMessage, UserMessage

from hub.domain.team import AgentSpec, TeamSpec
from hub.engine.models.conversation import GO_ON, Json

BRIEFING = "You are a helpful assistant. You answer in one or two short sentences."
EARLIER_EXCHANGES = 1
SHOWN_CHARACTERS = 500  # of a message: in any script less than the 2,048 tokens of a slot


@dataclass(slots=True)
class _Exchange:
    """What people said, and what agents, by name, said to it."""

    asked: list[str] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)


class Direction:
    """The dialogue for one agent of a team, whose instructions are what it is asked to do in it."""

    def __init__(self, team: TeamSpec, speaker: AgentSpec) -> None:
        self._tasks: Mapping[str, str] = {agent.name: agent.instructions for agent in team.agents}
        self._speaker = speaker.name

    def dialogue(self, messages: Sequence[LLMMessage]) -> list[Json]:
        """The messages to send, user and assistant in turn. Of earlier exchanges the first answers are shown."""
        *earlier, present = self._exchanges(messages)
        shown = [{"role": "system", "content": BRIEFING}]
        for exchange in earlier[-EARLIER_EXCHANGES:]:
            shown += self._told(exchange.asked, exchange.answers[:1])
        return shown + self._told(present.asked, [*present.answers, (self._speaker, "")])[:-1]

    def _told(self, asked: Sequence[str], answers: Sequence[tuple[str, str]]) -> list[Json]:
        told: list[Json] = []
        question = "\n\n".join(asked)
        for name, answer in answers:
            words = [part for part in (question, self._tasks.get(name)) if part]
            told.append({"role": "user", "content": "\n\n".join(words) or GO_ON})
            told.append({"role": "assistant", "content": answer})
            question = ""
        return told

    def _exchanges(self, messages: Sequence[LLMMessage]) -> list[_Exchange]:
        exchanges = [_Exchange()]
        for message in messages:
            if not isinstance(message, UserMessage | AssistantMessage) or not isinstance(message.content, str):
                continue
            text = message.content.strip()[:SHOWN_CHARACTERS]
            if message.source in self._tasks:
                exchanges[-1].answers.append((message.source, text))
                continue
            if exchanges[-1].answers:
                exchanges.append(_Exchange())
            exchanges[-1].asked.append(text)
        return exchanges
