"""What all our model clients share: AutoGen asks for ten methods, of which streaming is the only real one."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelFamily, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema

CHARACTERS_PER_TOKEN = 4
UNLIMITED = 1_000_000

Tooling = Sequence[Tool | ToolSchema]


class Thought(str):
    """A piece of a stream that the model thinks, and does not say."""

    __slots__ = ()


def end_with(token: CancellationToken | None) -> None:
    """A cancelled token ends the running task at whatever it waits for, and not only between two pieces."""
    task = asyncio.current_task()
    if token is not None and task is not None:
        token.link_future(task)


class StreamingClient(ChatCompletionClient):
    """A model client made of `create_stream`, which yields pieces (`str`, or `Thought`) and then one CreateResult.

    Raises `hub.engine.models.errors.ModelError` when the model gives no answer.
    """

    def __init__(self, *, calls_tools: bool, sees: bool = False, writes_json: bool = False) -> None:
        self._calls_tools = calls_tools
        self._sees = sees
        self._writes_json = writes_json

    @abstractmethod
    def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]: ...

    async def create(self, messages: Sequence[LLMMessage], **options: Any) -> CreateResult:
        """The whole answer at once. The call is accounted for, and its connection free, when this returns."""
        async with aclosing(self.create_stream(messages, **options)) as stream:
            async for piece in stream:
                if isinstance(piece, CreateResult):
                    return piece
        raise AssertionError("a model's stream ends with its result")

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=self._sees,
            function_calling=self._calls_tools,
            json_output=self._writes_json,
            structured_output=False,
            family=ModelFamily.UNKNOWN,
            multiple_system_messages=True,
        )

    @property
    def capabilities(self) -> ModelInfo:
        """AutoGen's older name of `model_info`."""
        return self.model_info

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Tooling = ()) -> int:
        """A rough guess: an exact count would download the model's encoding."""
        return (sum(len(str(message.content)) for message in messages) + len(str(tools))) // CHARACTERS_PER_TOKEN

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Tooling = ()) -> int:
        """As good as without limit: the server tells when a conversation is too long."""
        return UNLIMITED - self.count_tokens(messages, tools=tools)

    def actual_usage(self) -> RequestUsage:
        """Not kept here: `MeteredClient` adds up the usage of a turn."""
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    def total_usage(self) -> RequestUsage:
        return self.actual_usage()

    async def close(self) -> None:
        """Nothing to close: connections belong to the process, not to a client."""
