"""What is said in a run, the same at every server: two agents in turn, and a model without a network.

The servers of others import this module, and only this, in environments of their own.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from autogen_core import Component
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelInfo, RequestUsage
from pydantic import BaseModel

AGENTS = ("alpha", "beta")
UNLIMITED = 1_000_000
TOKENS_PER_PASS = 32  # as the hub's scripted model: other tasks run after so many tokens


def tokens_of(turn: int, tokens: int) -> list[str]:
    """What the hub's scripted model says too (docs/protocol.md, section 7)."""
    return [f"t{turn}.{number} " for number in range(tokens)]


@dataclass(frozen=True)
class Talk:
    """A run: so many messages of the agents, in turn, of so many tokens."""

    turns: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> "Talk":
        """`10x400`."""
        turns, _, tokens = text.partition("x")
        return cls(int(turns), int(tokens))

    @property
    def total(self) -> int:
        """All tokens of the run."""
        return self.turns * self.tokens

    def texts(self) -> list[str]:
        """What is said in each turn."""
        return ["".join(tokens_of(turn, self.tokens)) for turn in range(self.turns)]

    def team(self) -> dict[str, Any]:
        """The team for those who run AutoGen's components: a round robin that ends after the last turn."""
        agents = [self._agent(number, name) for number, name in enumerate(AGENTS)]
        end = {
            "provider": "autogen_agentchat.conditions.MaxMessageTermination",
            "component_type": "termination",
            "config": {"max_messages": self.turns + 1},  # the person's is one
        }
        return {
            "provider": "autogen_agentchat.teams.RoundRobinGroupChat",
            "component_type": "team",
            "config": {"participants": agents, "termination_condition": end},
        }

    def _agent(self, number: int, name: str) -> dict[str, Any]:
        model = {
            "provider": "loadtests.bench.agents.talk.TalkingModel",
            "component_type": "model",
            "config": {"first": number, "step": len(AGENTS), "tokens": self.tokens},
        }
        return {
            "provider": "autogen_agentchat.agents.AssistantAgent",
            "component_type": "agent",
            "config": {
                "name": name,
                "model_client": model,
                "tools": [],
                "handoffs": [],
                "description": "Says what the script says.",
                "system_message": "You are a helpful assistant.",
                "model_client_stream": True,
                "reflect_on_tool_use": False,
                "tool_call_summary_format": "{result}",
            },
        }


class TalkingConfig(BaseModel):
    """The turns an agent has are `first`, `first + step` …"""

    first: int
    step: int
    tokens: int


class TalkingModel(ChatCompletionClient, Component[TalkingConfig]):
    """Says the words of an agent's next turn as fast as they are taken."""

    component_type: ClassVar[Literal["model"]] = "model"
    component_config_schema = TalkingConfig

    def __init__(self, config: TalkingConfig) -> None:
        self._config = config
        self._turn = config.first

    def _to_config(self) -> TalkingConfig:
        return self._config

    @classmethod
    def _from_config(cls, config: TalkingConfig) -> "TalkingModel":
        return cls(config)

    async def create_stream(
        self, messages: Sequence[LLMMessage], **_options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        words = tokens_of(self._turn, self._config.tokens)
        self._turn += self._config.step
        for number, word in enumerate(words):
            if number % TOKENS_PER_PASS == 0:
                await asyncio.sleep(0)
            yield word
        usage = RequestUsage(prompt_tokens=len(messages), completion_tokens=len(words))
        yield CreateResult(finish_reason="stop", content="".join(words), usage=usage, cached=False)

    async def create(self, messages: Sequence[LLMMessage], **_options: Any) -> CreateResult:
        raise NotImplementedError("agents that stream do not ask for an answer at once")

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False, function_calling=True, json_output=False, structured_output=False, family="unknown"
        )

    @property
    def capabilities(self) -> ModelInfo:
        return self.model_info

    def count_tokens(self, messages: Sequence[LLMMessage], **_options: Any) -> int:
        return len(messages)

    def remaining_tokens(self, messages: Sequence[LLMMessage], **_options: Any) -> int:
        return UNLIMITED - len(messages)

    def actual_usage(self) -> RequestUsage:
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    def total_usage(self) -> RequestUsage:
        return self.actual_usage()

    async def close(self) -> None:
        return None
