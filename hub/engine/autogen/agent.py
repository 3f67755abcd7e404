"""An AutoGen agent that tells what it does, at the moment it does it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
    ToolCallSummaryMessage,
)
from autogen_core import CancellationToken
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient
from autogen_core.tools import Workbench

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec
from hub.engine.autogen.telling import Telling
from hub.engine.base import AgentStarted, MessageEnded, TextDelta, ToolEnded, ToolStarted

MAX_TOOL_ROUNDS = 8  # model calls of one turn that may ask for tools; their results are the answer after the last


class HubAgent(AssistantAgent):
    """An assistant whose start and tool calls are told here; its model's words are told by its model client."""

    def __init__(
        self,
        spec: AgentSpec,
        model: ChatCompletionClient,
        workbench: Workbench,
        context: ChatCompletionContext,
        telling: Telling,
    ) -> None:
        super().__init__(
            spec.name,
            model,
            workbench=workbench,
            model_context=context,
            description=spec.description or spec.display_name,
            system_message=spec.instructions or None,
            model_client_stream=True,
            max_tool_iterations=MAX_TOOL_ROUNDS,
        )
        self._spec = spec
        self._telling = telling
        self._calls: dict[str, str] = {}

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        await self._telling.tell(AgentStarted(self._spec))
        async with aclosing(super().on_messages_stream(messages, cancellation_token)) as items:
            async for item in items:
                # A request is told before the agent goes on, that is, before the tools are called.
                if isinstance(item, ToolCallRequestEvent):
                    await self._requested(item)
                elif isinstance(item, ToolCallExecutionEvent):
                    await self._returned(item)
                elif isinstance(item, Response) and isinstance(item.chat_message, ToolCallSummaryMessage):
                    await self._summarised(item.chat_message.content)
                yield item

    async def _requested(self, request: ToolCallRequestEvent) -> None:
        for call in request.content:
            known = self._calls[call.id] = new_id()  # providers number their calls from one again
            await self._telling.tell(ToolStarted(known, self._spec, call.name, call.arguments))

    async def _returned(self, execution: ToolCallExecutionEvent) -> None:
        for result in execution.content:
            known = self._calls.pop(result.call_id)
            await self._telling.tell(
                ToolEnded(known, self._spec, result.name, result.content, is_error=bool(result.is_error))
            )

    async def _summarised(self, text: str) -> None:
        message = new_id()
        self._telling.last_text = text
        await self._telling.tell(TextDelta(message, self._spec, text))
        await self._telling.tell(MessageEnded(message, self._spec, text, Usage()))
