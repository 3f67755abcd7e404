"""The model of an AutoGen agent that is a runnable: what it says, told as any model's words are."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import Any

from autogen_core import CancellationToken
from autogen_core.models import AssistantMessage, CreateResult, LLMMessage, RequestUsage, SystemMessage, UserMessage
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages import SystemMessage as LangChainSystemMessage

from hub.domain.team import AgentSpec
from hub.engine.allowance import OverBudget
from hub.engine.attached import Fetch, FetchIn
from hub.engine.autogen.telling import Telling
from hub.engine.base import AgentStarted, EngineEvent, TurnRequest
from hub.engine.langchain.engine import failure_of
from hub.engine.langchain.messages import content
from hub.engine.langchain.registry import Runnables
from hub.engine.langchain.speech import Speech
from hub.engine.langchain.tools import as_langchain
from hub.engine.models.client import StreamingClient, end_with
from hub.engine.models.conversation import ShownMessage, shown
from hub.engine.models.errors import ModelError
from hub.engine.tools.registry import Tools


class RunnableAgents:
    """Makes the clients of those agents."""

    def __init__(self, runnables: Runnables, tools: Tools, fetch: FetchIn | None = None) -> None:
        self._runnables = runnables
        self._tools = tools
        self._fetch = fetch

    def client(self, request: TurnRequest, agent: AgentSpec, telling: Telling) -> "RunnableClient":
        """For one turn of one agent."""
        fetch = partial(self._fetch, request.session) if self._fetch is not None else None
        return RunnableClient(self._runnables, self._tools.only(agent.tools), request, agent, telling, fetch)


class RunnableClient(StreamingClient):
    """Lets a runnable say an agent's words. It knows the conversation, and nothing else from turn to turn."""

    def __init__(
        self,
        runnables: Runnables,
        tools: Tools,
        request: TurnRequest,
        agent: AgentSpec,
        telling: Telling,
        fetch: Fetch | None,
    ) -> None:
        super().__init__(calls_tools=False)
        self._fetch = fetch
        self._runnables = runnables
        self._tools = tools
        self._agent = agent
        self._telling = telling
        self._request = request
        self._speech = Speech(agent.runnable or "", request, [agent], tools, self._tell)

    async def create_stream(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **_options: Any
    ) -> AsyncGenerator[CreateResult, None]:
        end_with(cancellation_token)
        speech = self._speech
        try:
            name = self._agent.runnable or ""
            made = self._runnables.get(name, as_langchain(self._tools))
            if self._fetch is not None:
                messages = await shown(messages, self._fetch, sees=self._runnables.sees(name))
            await speech.run(made, {}, list(_as_langchain(messages, self._agent.name)))
        except Exception as e:
            reached = self._request.allowance.reached
            over = OverBudget(reached) if reached is not None else None
            fault = self._telling.fault or over or ModelError(failure_of(e), f"{type(e).__name__}: {e}")
            self._telling.fault = fault
            raise fault from e
        finally:
            self._telling.model_calls += speech.model_calls
        text = "\n\n".join(speech.texts)
        self._telling.last_text = text
        usage = RequestUsage(speech.usage.prompt_tokens, speech.usage.completion_tokens)
        yield CreateResult(finish_reason="stop", content=text, usage=usage, cached=False)

    async def _tell(self, event: EngineEvent) -> None:
        if not isinstance(event, AgentStarted):  # the agent has told that itself
            await self._telling.tell(event)


def _as_langchain(messages: Sequence[LLMMessage], agent: str) -> Iterator[BaseMessage]:
    for message in messages:
        match message:
            case SystemMessage(content=text):
                yield LangChainSystemMessage(content=text)
            case ShownMessage(source=source, content=str(text), shown=pictures):
                yield HumanMessage(content=content(text, pictures), name=source)
            case UserMessage(source=source, content=str(text)):
                yield HumanMessage(content=text, name=source)
            case AssistantMessage(content=str(text)):
                yield AIMessage(content=text, name=agent)
            case _:
                continue
