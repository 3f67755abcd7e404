"""The model of an agent with a seat: what a program says over the wire, told as any model's words are."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, assert_never

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    LLMMessage,
    RequestUsage,
    SystemMessage,
    UserMessage,
)

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec
from hub.engine.autogen.handoffs import handoff_tool
from hub.engine.autogen.metered import Candidate, SpeakingClient
from hub.engine.autogen.telling import Telling
from hub.engine.base import AgentStarted, Failure, MessageEnded, MessageVoided, TextDelta, TurnRequest
from hub.engine.bots import Bots, BotTurn, Ended, Spoken, Void
from hub.engine.models.client import StreamingClient
from hub.engine.models.errors import ModelError
from hub.protocol.events import HeardData

CONTEXT_CHARACTERS = 100_000
"""Of a conversation, as a bot is told it: the newest of it."""

LOST = "the bot that spoke this turn was lost"


class BotClient(StreamingClient):
    """Has the turn spoken by a bot, or by the team's substitute for it."""

    def __init__(
        self,
        bots: Bots | None,
        request: TurnRequest,
        agent: AgentSpec,
        telling: Telling,
        models_for: Callable[[AgentSpec], Sequence[Candidate]],
    ) -> None:
        super().__init__(calls_tools=True)
        self._bots = bots
        self._request = request
        self._agent = agent
        self._telling = telling
        self._models_for = models_for
        self._message = new_id()
        self._shown = False

    async def create_stream(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        task = asyncio.current_task()
        if cancellation_token is not None and task is not None:
            cancellation_token.link_future(task)
        try:
            async with aclosing(self._spoken(messages)) as pieces:
                async for piece in pieces:
                    yield piece
        except ModelError as e:
            substitute = self._substitute()
            if substitute is None:
                self._telling.fault = self._telling.fault or e
                raise
        else:
            return
        await self._begin_anew(substitute)
        client = SpeakingClient(self._models_for(substitute), self._telling, substitute)
        told = _instructed(messages, substitute)
        async with aclosing(client.create_stream(told, cancellation_token=cancellation_token, **options)) as answer:
            async for part in answer:
                yield part

    async def _spoken(self, messages: Sequence[LLMMessage]) -> AsyncGenerator[CreateResult, None]:
        if self._bots is None:
            raise ModelError(Failure.BOT_UNAVAILABLE, "this hub has no bots")
        names = {agent.name for agent in self._request.team.agents}
        turn = BotTurn(self._request, self._agent, tuple(_heard(messages, names)), self._agent.handoffs)
        async with aclosing(self._bots.speak(turn)) as heard:
            async for item in heard:
                match item:
                    case Spoken(text=text):
                        self._shown = True
                        await self._telling.stream(TextDelta(self._message, self._agent, text))
                    case Void():
                        await self._begin_anew(self._agent)
                    case Ended():
                        yield await self._end(item)
                    case _:
                        assert_never(item)

    async def _begin_anew(self, agent: AgentSpec) -> None:
        if self._shown:
            await self._telling.tell(MessageVoided(self._message, agent, LOST))
            self._message, self._shown = new_id(), False
        elif agent is not self._agent:
            await self._telling.tell(AgentStarted(agent))

    async def _end(self, ended: Ended) -> CreateResult:
        if ended.text:
            if not self._shown:
                await self._telling.tell(TextDelta(self._message, self._agent, ended.text))
            self._telling.last_text = ended.text
            await self._telling.tell(MessageEnded(self._message, self._agent, ended.text, Usage()))
        usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
        if ended.handoff is None:
            return CreateResult(finish_reason="stop", content=ended.text, usage=usage, cached=False)
        call = FunctionCall(id=new_id(), name=handoff_tool(ended.handoff), arguments="{}")
        return CreateResult(
            finish_reason="function_calls", content=[call], usage=usage, cached=False, thought=ended.text or None
        )

    def _substitute(self) -> AgentSpec | None:
        """Who speaks instead: without tools, and free to hand over to whom the bot might."""
        assert self._agent.seat is not None
        name = self._agent.seat.substitute
        found = self._request.team.agent(name) if name is not None else None
        return replace(found, handoffs=self._agent.handoffs) if found is not None else None


def _heard(messages: Sequence[LLMMessage], agents: set[str]) -> Iterator[HeardData]:
    """What people and agents have said."""
    for message in messages:
        match message:
            case UserMessage(source=source, content=str(text)) | AssistantMessage(source=source, content=str(text)):
                yield HeardData(kind="agent" if source in agents else "user", name=source, text=text)
            case AssistantMessage(source=source, thought=str(text)) if text:  # what it said when it handed over
                yield HeardData(kind="agent", name=source, text=text)
            case _:
                continue


def _instructed(messages: Sequence[LLMMessage], agent: AgentSpec) -> list[LLMMessage]:
    """The same conversation under another agent's instructions."""
    said: list[LLMMessage] = [message for message in messages if not isinstance(message, SystemMessage)]
    return [SystemMessage(content=agent.instructions), *said] if agent.instructions else said
