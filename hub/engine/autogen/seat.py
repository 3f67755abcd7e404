"""The model of an agent with a seat: what somebody says who is no model, told as any model's words are."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence, Set
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
    SystemMessage,
)

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec, SeatKind
from hub.engine.autogen.handoffs import handoff_tool
from hub.engine.autogen.metered import Candidate, SpeakingClient
from hub.engine.autogen.telling import Telling
from hub.engine.base import AgentStarted, MessageEnded, MessageVoided, TextDelta, TurnRequest
from hub.engine.models.client import StreamingClient, end_with
from hub.engine.models.errors import ModelError

LOST = "the bot that spoke this turn was lost"


class SeatClient(StreamingClient):
    """Has the turn spoken by who takes the seat, or by the team's substitute when nobody does."""

    def __init__(
        self,
        request: TurnRequest,
        agent: AgentSpec,
        telling: Telling,
        models_for: Callable[[AgentSpec], Sequence[Candidate]],
    ) -> None:
        super().__init__(calls_tools=True)
        self._request = request
        self._agent = agent
        self._telling = telling
        self._models_for = models_for
        self._message = new_id()
        self._shown = False
        self._stands_in: AgentSpec | None = None  # from then on to the end of the turn
        self._calls = set[str]()  # that who stands in has asked for

    @abstractmethod
    def _spoken(self, messages: Sequence[LLMMessage]) -> AsyncGenerator[CreateResult, None]:
        """Tell what is said, and give it whole. Raises ModelError when nobody says anything."""

    async def create_stream(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        end_with(cancellation_token)
        if self._stands_in is None:
            try:
                async with aclosing(self._spoken(messages)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ModelError as e:
                self._stands_in = self._substitute()
                if self._stands_in is None:
                    self._telling.fault = self._telling.fault or e
                    raise
            else:
                return
            await self._begin_anew(self._stands_in)
        client = SpeakingClient(self._models_for(self._stands_in), self._telling, self._stands_in)
        told = _instructed(messages, self._stands_in, self._calls)
        if self._agent.seat is not None and self._agent.seat.kind is SeatKind.HUMAN:
            options["tools"] = ()  # the one that asks for a person
        async with aclosing(client.create_stream(told, cancellation_token=cancellation_token, **options)) as answer:
            async for part in answer:
                if isinstance(part, CreateResult) and not isinstance(part.content, str):
                    self._calls.update(call.id for call in part.content)
                yield part

    async def _piece(self, text: str) -> None:
        self._shown = True
        await self._telling.stream(TextDelta(self._message, self._agent, text))

    async def _begin_anew(self, agent: AgentSpec) -> None:
        if self._shown:
            await self._telling.tell(MessageVoided(self._message, agent, LOST))
            self._message, self._shown = new_id(), False
        elif agent is not self._agent:
            await self._telling.tell(AgentStarted(agent))

    async def _end(self, text: str, handoff: str | None = None) -> CreateResult:
        if text:
            if not self._shown:
                await self._telling.tell(TextDelta(self._message, self._agent, text))
            self._telling.last_text = text
            await self._telling.tell(MessageEnded(self._message, self._agent, text, Usage()))
        if handoff is None:
            return result(text)
        call = FunctionCall(id=new_id(), name=handoff_tool(handoff), arguments="{}")
        return result([call], thought=text or None)

    def _substitute(self) -> AgentSpec | None:
        """Who speaks instead: without tools, and free to hand over to whom this agent might."""
        assert self._agent.seat is not None
        name = self._agent.seat.substitute
        found = self._request.team.agent(name) if name is not None else None
        return replace(found, handoffs=self._agent.handoffs) if found is not None else None


def result(content: str | list[FunctionCall], thought: str | None = None) -> CreateResult:
    """What AutoGen takes for a model's answer."""
    finish = "stop" if isinstance(content, str) else "function_calls"
    usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
    return CreateResult(finish_reason=finish, content=content, usage=usage, cached=False, thought=thought)


def _instructed(messages: Sequence[LLMMessage], agent: AgentSpec, calls: Set[str]) -> list[LLMMessage]:
    """The same conversation under another agent's instructions, without what the seat was asked and has answered; of
    calls and their results there are these."""
    said = [message for message in messages if _is_said(message, calls)]
    return [SystemMessage(content=agent.instructions), *said] if agent.instructions else said


def _is_said(message: LLMMessage, calls: Set[str]) -> bool:
    match message:
        case SystemMessage():
            return False
        case FunctionExecutionResultMessage(content=results):
            return any(result.call_id in calls for result in results)
        case AssistantMessage(content=list(asked)):
            return any(call.id in calls for call in asked)
        case _:
            return True
