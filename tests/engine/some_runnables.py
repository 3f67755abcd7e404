"""Runnables as an operator might have them (HUB_RUNNABLES=tests.engine.some_runnables), on models without a server."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableGenerator
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from typing_extensions import TypedDict

from hub.engine.langchain import runnable


class Echo(GenericFakeChatModel):
    """Says, word by word, who it has heard; calls a tool first when it has one and was not answered yet."""

    messages: Iterator[AIMessage | str] = iter(())
    says: str = ""
    calls: str = ""
    pause_s: float = 0

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if self.calls and messages[-1].type != "tool":
            call = {"name": self.calls, "args": "{}", "id": "call-1", "index": 0, "type": "tool_call_chunk"}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
            return
        heard = [f"{m.name or m.type}:{m.content}" for m in messages if m.type in ("human", "ai", "tool") and m.content]
        words = f"{self.says}{len(heard)} {heard[-1] if heard else ''}".split(" ")
        for number, word in enumerate(words):
            last = number == len(words) - 1
            used = {"input_tokens": len(heard), "output_tokens": len(words), "total_tokens": 0} if last else None
            await asyncio.sleep(self.pause_s)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word if last else f"{word} ", usage_metadata=used))


class State(TypedDict):
    messages: Annotated[list[BaseMessage], add_messages]
    rounds: int


@runnable("chain")
def chain(_tools: Mapping[str, Any]) -> Any:
    """A prompt, a model and a parser."""
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("messages")])
    return (lambda messages: {"messages": messages}) | prompt | Echo(says="chain ") | StrOutputParser()


@runnable("model")
def model(_tools: Mapping[str, Any]) -> Any:
    """Just a model."""
    return Echo()


@runnable("graph")
def graph(_tools: Mapping[str, Any]) -> Any:
    """Two nodes that speak one after the other, and a number that grows."""
    drafting, checking = Echo(says="draft "), Echo(says="check ")

    async def writer(state: State) -> dict[str, Any]:
        answer = await drafting.ainvoke(state["messages"])
        return {"messages": [answer], "rounds": state.get("rounds", 0) + 1}

    async def critic(state: State) -> dict[str, Any]:
        answer = await checking.ainvoke(state["messages"])
        return {"messages": [answer, AIMessage(content=f"round {state['rounds']}", id=f"r{state['rounds']}")]}

    made = StateGraph(State)
    made.add_node("writer", writer)
    made.add_node("critic", critic)
    made.add_edge(START, "writer")
    made.add_edge("writer", "critic")
    made.add_edge("critic", END)
    return made.compile()


@runnable("slow")
def slow(_tools: Mapping[str, Any]) -> Any:
    """A graph that takes its time."""

    async def writer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await Echo(says="slow ", pause_s=0.05).ainvoke(state["messages"])]}

    made = StateGraph(MessagesState)
    made.add_node("writer", writer)
    made.add_edge(START, "writer")
    return made.compile()


@tool
async def own(key: str = "k") -> str:
    """A tool of the graph's own."""
    return f"own {key}"


@runnable("tools")
def with_tools(tools: Mapping[str, Any]) -> Any:
    """A model with a tool: the hub's if the team names one, else one of its own."""
    available = [*tools.values()] or [own]
    asking = Echo(says="told ", calls=available[0].name)

    async def agent(state: State) -> dict[str, Any]:
        return {"messages": [await asking.bind_tools(available).ainvoke(state["messages"])]}

    def more(state: State) -> str:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else END

    made = StateGraph(State)
    made.add_node("agent", agent)
    made.add_node("tools", ToolNode(available))
    made.add_edge(START, "agent")
    made.add_conditional_edges("agent", more)
    made.add_edge("tools", "agent")
    return made.compile()


@runnable("odd")
def odd(_tools: Mapping[str, Any]) -> Any:
    """Does what it is told: `hang`, `shrug`, `fail`, `dict`, `slow`."""

    async def act(given: AsyncIterator[list[BaseMessage]]) -> AsyncIterator[Any]:
        async for messages in given:
            match str(messages[-1].content):
                case "hang":
                    yield "a"
                    await asyncio.Event().wait()
                case "shrug":
                    yield "a"
                    with suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
                    yield "b"
                case "fail":
                    yield "a"
                    raise RuntimeError("/secret/path")
                case "limited":
                    raise RateLimitError("slow down")
                case "dict":
                    yield {"answer": 42}
                case _:
                    for number in range(1000):
                        yield f"{number} "

    return RunnableGenerator(act)


class Odd(TypedDict):
    messages: Annotated[list[BaseMessage], add_messages]
    thing: object


class RateLimitError(Exception):
    """As the providers' clients call it."""


@runnable("broken")
def broken(_tools: Mapping[str, Any]) -> Any:
    """Cannot be made."""
    raise RuntimeError("no such model")


@runnable("stateful")
def stateful(_tools: Mapping[str, Any]) -> Any:
    """Keeps what JSON does not have."""

    async def node(_state: Odd) -> dict[str, Any]:
        return {"thing": object(), "messages": [HumanMessage(content="x")]}

    made: Any = StateGraph(Odd)
    made.add_node("node", node)
    made.add_edge(START, "node")
    return made.compile()


def _looking() -> Any:
    """A graph that says what the messages that it is given hold."""

    def node(state: MessagesState) -> dict[str, Any]:
        seen = [[part["type"] for part in m.content_blocks] for m in state["messages"] if m.type == "human"]
        texts = [m.text for m in state["messages"] if m.type == "human"]
        return {"messages": [AIMessage(content=f"{seen} {texts}")]}

    made = StateGraph(MessagesState)
    made.add_node("node", node)
    made.add_edge(START, "node")
    return made.compile()


@runnable("looking", sees=True)
def looking(_tools: Mapping[str, Any]) -> Any:
    """Its models see."""
    return _looking()


@runnable("listening")
def listening(_tools: Mapping[str, Any]) -> Any:
    """Its models do not."""
    return _looking()
