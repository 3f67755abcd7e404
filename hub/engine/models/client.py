"""What all our model clients share: AutoGen asks for ten methods, of which streaming is the only real one."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelFamily, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

CHARACTERS_PER_TOKEN = 4

Tooling = Sequence[Tool | ToolSchema]
ToolChoice = Tool | Literal["auto", "required", "none"]
NO_ARGUMENTS: Mapping[str, Any] = {}


class Thought(str):
    """A piece of a stream that the model thinks, and does not say."""

    __slots__ = ()


class StreamingClient(ChatCompletionClient):
    """A model client made of `create_stream`, which yields pieces (`str`, or `Thought`) and then one CreateResult.

    Raises `hub.engine.models.errors.ModelError` when the model gives no answer.
    """

    def __init__(self, *, calls_tools: bool) -> None:
        self._calls_tools = calls_tools

    @abstractmethod
    def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Tooling = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = NO_ARGUMENTS,
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]: ...

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Tooling = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = NO_ARGUMENTS,
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """The whole answer at once."""
        stream = self.create_stream(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        async for piece in stream:
            if isinstance(piece, CreateResult):
                return piece
        raise AssertionError("a model's stream ends with its result")

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False,
            function_calling=self._calls_tools,
            json_output=False,
            structured_output=False,
            family=ModelFamily.UNKNOWN,
            multiple_system_messages=True,
        )

    @property
    def capabilities(self) -> ModelInfo:  # type: ignore[override]  # AutoGen's deprecated name of model_info
        return self.model_info

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Tooling = ()) -> int:
        """A rough guess: an exact count would download the model's encoding."""
        return sum(len(str(message.content)) for message in messages) // CHARACTERS_PER_TOKEN

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Tooling = ()) -> int:
        """As good as without limit: the server tells when a conversation is too long."""
        return 1_000_000 - self.count_tokens(messages)

    def actual_usage(self) -> RequestUsage:
        """Not kept here: `MeteredClient` adds up the usage of a turn."""
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    def total_usage(self) -> RequestUsage:
        return self.actual_usage()

    async def close(self) -> None:
        """Nothing to close: connections belong to the process, not to a client."""
