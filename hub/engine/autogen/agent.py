"""An AutoGen agent that tells what it does, at the moment it does it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Handoff as HandoffTool
from autogen_agentchat.base import Response
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    HandoffMessage,
    TextMessage,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
    ToolCallSummaryMessage,
)
from autogen_core import CancellationToken
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient, FunctionExecutionResultMessage

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import TAKE_TURN, AgentSpec
from hub.engine.allowance import OverBudget
from hub.engine.autogen.handoffs import handoff_tool
from hub.engine.autogen.telling import Telling
from hub.engine.autogen.workbench import SafeWorkbench
from hub.engine.base import AgentStarted, Failure, Handoff, MessageEnded, TextDelta, ToolEnded, ToolStarted
from hub.engine.models.errors import ModelError

MAX_TOOL_ROUNDS = 8  # model calls of one turn that may ask for tools; their results are the answer after the last


class HubAgent(AssistantAgent):
    """An assistant whose start and tool calls are told here; its model's words are told by its model client.

    Its turn ends at calls that the run carries out (`hub.engine.autogen.asking`).
    """

    def __init__(
        self,
        spec: AgentSpec,
        model: ChatCompletionClient,
        workbench: SafeWorkbench,
        context: ChatCompletionContext,
        telling: Telling,
    ) -> None:
        handoffs: list[HandoffTool | str] = [HandoffTool(target=to, name=handoff_tool(to)) for to in spec.handoffs]
        super().__init__(
            spec.name,
            model,
            workbench=workbench,
            handoffs=handoffs if model.model_info["function_calling"] and handoffs else None,
            model_context=context,
            description=spec.description or spec.display_name,
            system_message=spec.instructions or None,
            model_client_stream=True,
            max_tool_iterations=max(1, MAX_TOOL_ROUNDS - telling.asking.rounds),
        )
        self._spec = spec
        self._own = workbench
        self._telling = telling
        self._rounds_before = telling.asking.rounds
        self._handing_over = {handoff_tool(target) for target in spec.handoffs}

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        await self._telling.tell(AgentStarted(self._spec))
        if self._rounds_before >= MAX_TOOL_ROUNDS:
            yield Response(chat_message=await self._results())
            return
        async with aclosing(super().on_messages_stream(messages, cancellation_token)) as items:
            async for item in items:
                # A request is told before the agent goes on, that is, before the tools are called.
                if isinstance(item, ToolCallRequestEvent):
                    await self._requested(item)
                elif isinstance(item, ToolCallExecutionEvent):
                    await self._returned(item)
                    if self._telling.asking.calls:  # AutoGen has noted all results, and has nothing under way
                        break
                elif isinstance(item, Response) and isinstance(item.chat_message, ToolCallSummaryMessage):
                    await self._summarised(item.chat_message.content)
                elif isinstance(item, Response) and isinstance(item.chat_message, HandoffMessage):
                    await self._handed_over(item.chat_message)
                yield item
        if self._telling.asking.calls:
            ending = TextMessage(source=self.name, content="")
            self._telling.asking.hidden = ending.id
            yield Response(chat_message=ending)

    async def _requested(self, request: ToolCallRequestEvent) -> None:
        self._telling.asking.rounds += 1
        if len({call.id for call in request.content}) < len(request.content):
            self._telling.fault = ModelError(Failure.MALFORMED_OUTPUT, "the model gave two calls the same id")
            raise self._telling.fault
        called = [call for call in request.content if call.name not in self._handing_over]
        try:
            # A turn of a person is asked for by a call, and is none.
            await self._telling.allowance.call_tools(sum(call.name != TAKE_TURN for call in called))
        except OverBudget as e:
            self._telling.fault = e
            raise
        for call in called:
            if self._telling.asking.take(self._spec, self._own.tools, call):
                continue
            known = self._own.known[call.id] = new_id()
            await self._telling.tell(ToolStarted(known, self._spec, call.name, call.arguments))

    async def _returned(self, execution: ToolCallExecutionEvent) -> None:
        for result in execution.content:
            known = self._own.known.pop(result.call_id, None)
            if known is None:  # the run's to carry out, or a handoff
                continue
            text = self._own.whole.pop(result.call_id, result.content)
            await self._telling.tell(ToolEnded(known, self._spec, result.name, text, is_error=bool(result.is_error)))

    async def _handed_over(self, message: HandoffMessage) -> None:
        self._telling.handed_to = message.target
        await self._telling.tell(Handoff(self.name, message.target, message.content))

    async def _results(self) -> TextMessage:
        """What the last calls came to, as the agent's answer: its model may not call tools again."""
        last = self.model_context._messages[-1]  # also when it is too long to be shown to the model
        assert isinstance(last, FunctionExecutionResultMessage)
        text = "\n".join(result.content for result in last.content)
        await self._summarised(text)
        return TextMessage(source=self.name, content=text)

    async def _summarised(self, text: str) -> None:
        message = new_id()
        self._telling.last_text = text
        await self._telling.tell(TextDelta(message, self._spec, text))
        await self._telling.tell(MessageEnded(message, self._spec, text, Usage()))
