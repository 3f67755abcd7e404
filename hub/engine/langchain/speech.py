"""What a runnable says in one turn, told as it comes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from io import StringIO
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig

from hub.domain.ids import new_id
from hub.domain.run import ModelCall, Usage
from hub.domain.team import AgentSpec
from hub.engine.base import (
    AgentStarted,
    EngineEvent,
    MessageEnded,
    ReasoningDelta,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnRequest,
)
from hub.engine.langchain.messages import MESSAGES, text_of, thought_of
from hub.engine.langchain.tools import CALLING, Calling, written
from hub.engine.tools.registry import Tools

CHARACTERS_PER_TOKEN = 4

Tell = Callable[[EngineEvent], Awaitable[None]]


@dataclass(slots=True)
class _Message:
    """A message that is being written."""

    id: str
    agent: AgentSpec
    node: str
    text: StringIO = field(default_factory=StringIO)
    thoughts: StringIO = field(default_factory=StringIO)
    usage: Usage = field(default_factory=Usage)


class Speech:
    """One turn of a runnable. `agents` are those that may speak: a node of a graph speaks as the agent of its name,
    everything else as the first of them."""

    def __init__(self, name: str, request: TurnRequest, agents: Sequence[AgentSpec], tools: Tools, tell: Tell) -> None:
        self._name = name
        self._request = request
        self._agents = {agent.name: agent for agent in agents}
        self._first = agents[0]
        self._tell = tell
        self._tools = tools
        self._open: dict[str, _Message] = {}
        self._started: list[AgentSpec] = []
        self._told: set[str] = set()
        self._counted: dict[UUID, float] = {}
        self._pieces = 0
        self.texts: list[str] = []
        self.model_calls: list[ModelCall] = []

    @property
    def usage(self) -> Usage:
        """What all models of the turn have used so far."""
        return sum((call.usage for call in self.model_calls), Usage())

    async def run(self, made: Any, values: Mapping[str, Any], messages: Sequence[BaseMessage]) -> dict[str, Any]:
        """Let it speak, knowing this; gives what it knows then. Raises whatever goes wrong."""
        CALLING.set(Calling(self._request, self._tools, self._tell, self._speaking))
        config: RunnableConfig = {
            "callbacks": [_Listener(self)],
            "configurable": {"thread_id": self._request.session},
            "metadata": {"session": self._request.session, "run": self._request.run, "user": self._request.user},
        }
        if not isinstance(made, Runnable):
            raise TypeError(f"{self._name} is no runnable, but {type(made).__name__}")
        if hasattr(made, "stream_channels") and hasattr(made, "checkpointer"):
            return await self._graph(made, {**values, MESSAGES: list(messages)}, config)
        return await self._runnable(made, list(messages), config)

    # ---- graphs

    async def _graph(self, graph: Any, given: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        if graph.checkpointer:
            raise TypeError(f"{self._name} has a checkpointer: the hub keeps the state, compile it without one")
        last = given
        modes = ["messages", "updates", "values"]
        stream = graph.astream(given, config, stream_mode=modes, subgraphs=True)
        async with aclosing(stream) as items:
            async for place, mode, item in items:
                if mode == "messages":
                    await self._piece(*item)
                elif mode == "updates" and not place:
                    for node in item:
                        await self._end_of_node(node)
                elif mode == "values" and not place:
                    last = item
        await self._end_all()
        if "__interrupt__" in last:
            raise TypeError(f"{self._name} interrupts itself: ask people with the tool ask_person of a team instead")
        return dict(last)

    async def _piece(self, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        if not isinstance(message, AIMessage) or message.id is None or message.id in self._told:
            return
        await self._add(message, self._agent_of(metadata), str(metadata.get("langgraph_node", "")))
        ended = not isinstance(message, AIMessageChunk) or message.chunk_position == "last"
        if ended and message.id in self._open:
            await self._end(message.id)

    def _agent_of(self, metadata: Mapping[str, Any]) -> AgentSpec:
        """The agent of the innermost node that has the name of one."""
        places = str(metadata.get("langgraph_checkpoint_ns", "")).split("|")
        for node in [str(metadata.get("langgraph_node", "")), *(place.split(":")[0] for place in reversed(places))]:
            if (agent := self._agents.get(node)) is not None:
                return agent
        return self._first

    async def _end_of_node(self, node: str) -> None:
        for id_, message in list(self._open.items()):
            if message.node == node:
                await self._end(id_)

    # ---- everything else

    async def _runnable(
        self, made: Runnable[Any, Any], messages: list[BaseMessage], config: RunnableConfig
    ) -> dict[str, Any]:
        whole = _Message(new_id(), self._first, "")
        async with aclosing(made.astream(messages, config)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                match piece:
                    case AIMessage():
                        await self._add(piece.model_copy(update={"id": whole.id}), self._first, "")
                    case str():
                        await self._add(AIMessageChunk(content=piece, id=whole.id), self._first, "")
                    case _:
                        raise TypeError(f"{self._name} gives neither text nor messages, but {type(piece).__name__}")
        await self._end_all()
        said = AIMessage(content="".join(self.texts), name=self._first.name)
        return {MESSAGES: [*messages, said]}

    # ---- telling

    async def _add(self, message: AIMessage, agent: AgentSpec, node: str) -> None:
        text, thought = text_of(message), thought_of(message)
        assert message.id is not None
        known = self._open.get(message.id)
        if known is None and not text and not thought:
            return  # it calls tools, or has not begun
        if known is None:
            known = self._open[message.id] = _Message(new_id(), agent, node)
            await self._start(agent)
        if message.usage_metadata is not None:
            known.usage += Usage(message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"])
        if thought:
            known.thoughts.write(thought)
            await self._tell(ReasoningDelta(known.id, agent, thought))
        if text:
            known.text.write(text)
            await self._count_piece()
            await self._tell(TextDelta(known.id, agent, text))

    async def _start(self, agent: AgentSpec) -> None:
        if agent not in self._started:
            self._started.append(agent)
            await self._tell(AgentStarted(agent))

    def _speaking(self) -> AgentSpec:
        """Who has begun last."""
        return self._started[-1] if self._started else self._first

    async def _end(self, id_: str) -> None:
        message = self._open.pop(id_)
        self._told.add(id_)
        text, thoughts = message.text.getvalue(), message.thoughts.getvalue()
        if text:
            self.texts.append(text)
            await self._tell(MessageEnded(message.id, message.agent, text, message.usage, thoughts or None))

    async def _end_all(self) -> None:
        for id_ in list(self._open):
            await self._end(id_)

    async def called(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """A tool of the runnable's own is about to be called: an id for the call. None for one of the hub's, which
        tells by itself."""
        await self._start(self._speaking())
        await self._request.allowance.call_tools(1)
        if name in self._tools:
            return None
        id_ = new_id()
        await self._tell(ToolStarted(id_, self._speaking(), name, written(arguments)))
        return id_

    async def returned(self, id_: str, name: str, result: str, *, is_error: bool) -> None:
        """What came of it."""
        await self._tell(ToolEnded(id_, self._speaking(), name, result, is_error))

    async def asking(self, call: UUID, characters: int) -> None:
        """A model is about to be asked something of this length. Raises OverBudget."""
        guess = characters / CHARACTERS_PER_TOKEN
        self._counted[call] = guess
        await self._request.allowance.spend(guess, 0)

    async def _count_piece(self) -> None:
        allowance = self._request.allowance
        allowance.add(1, 0)
        self._pieces += 1
        if allowance.is_over:
            await allowance.check()

    def asked(self, call: UUID, result: LLMResult) -> None:
        """A model has answered: what was a guess is put right, where it says what it has used."""
        self._correct(self._counted.pop(call, 0), sum((c.usage for c in self._answers(result)), Usage()))

    def _correct(self, guess: float, used: Usage) -> None:
        total = used.prompt_tokens + used.completion_tokens
        if total:
            self._request.allowance.add(total - guess - self._pieces, 0)
        self._pieces = 0

    def _answers(self, result: LLMResult) -> list[ModelCall]:
        """The calls that a model has answered, noted."""
        before = len(self.model_calls)
        for generations in result.generations:
            for generation in generations:
                used, model = Usage(), self._name
                if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                    model = str(generation.message.response_metadata.get("model_name") or self._name)
                    if (counted := generation.message.usage_metadata) is not None:
                        used = Usage(counted["input_tokens"], counted["output_tokens"])
                self.model_calls.append(ModelCall(model[:100], self._speaking().name, used, finish="stop"))
        return self.model_calls[before:]


class _Listener(AsyncCallbackHandler):
    """Hears of tools and models wherever in the runnable they are."""

    raise_error = True

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._calls: dict[UUID, tuple[str, str]] = {}

    async def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        name = str((serialized or {}).get("name") or kwargs.get("name") or "tool")
        id_ = await self._speech.called(name, kwargs.get("inputs") or {"input": input_str})
        if id_ is not None:
            self._calls[run_id] = (id_, name)

    async def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        if (known := self._calls.pop(run_id, None)) is not None:
            text = text_of(output) if isinstance(output, BaseMessage) else str(output)
            await self._speech.returned(*known, text, is_error=getattr(output, "status", "") == "error")

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        if (known := self._calls.pop(run_id, None)) is not None:
            await self._speech.returned(*known, f"failed: {type(error).__name__}", is_error=True)

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - so it is called
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **_: Any,
    ) -> None:
        await self._speech.asking(run_id, sum(len(text_of(message)) for batch in messages for message in batch))

    async def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - so it is called
        prompts: list[str],
        *,
        run_id: UUID,
        **_: Any,
    ) -> None:
        await self._speech.asking(run_id, sum(map(len, prompts)))

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        self._speech.asked(run_id, response)
