"""A team made of a LangGraph graph: a researcher who works things out with the hub's tools, and a writer who answers.

`python3 dev.py example langgraph "What is 6*7?"` runs it. The two models are langchain-core's fake ones, so that it
needs no key; put your own in their place, say `init_chat_model("anthropic:…")` of the package `langchain`.
"""

import re
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, MessagesState, StateGraph

from hub.engine.langchain import runnable

EXPRESSION = re.compile(r"[\d.(][\d\s.()+*/^-]*[\d)]")


class Research(MessagesState):
    findings: list[str]


def model(words: str) -> FakeListChatModel:
    """Says these words, a piece at a time: here a real model would be."""
    return FakeListChatModel(responses=[words], sleep=0.01)


@runnable("research")
def research(tools: Mapping[str, BaseTool]) -> Any:
    """The graph; `tools` are those of the hub that the team names."""

    async def researcher(state: Research) -> dict[str, Any]:
        question = str(state["messages"][-1].content)
        found = [f"It is {await tools['clock'].ainvoke({})}."]
        found += [
            f"{expression} = {await tools['calculator'].ainvoke({'expression': expression})}."
            for expression in EXPRESSION.findall(question)[:3]
        ]
        note = await model(f"I have looked it up: {len(found)} findings.").ainvoke(state["messages"])
        return {"messages": [note], "findings": found}

    async def writer(state: Research) -> dict[str, Any]:
        answer = await model(" ".join(state["findings"])).ainvoke(state["messages"])
        return {"messages": [AIMessage(content=answer.content, id=answer.id)]}

    graph = StateGraph(Research)
    graph.add_node("researcher", researcher)
    graph.add_node("writer", writer)
    graph.add_edge(START, "researcher")
    graph.add_edge("researcher", "writer")
    graph.add_edge("writer", END)
    return graph.compile()
