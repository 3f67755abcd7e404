"""The hub's tools as LangChain's, recorded and bounded as all calls are."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from hub.domain.ids import new_id
from hub.domain.team import AgentSpec
from hub.engine.base import EngineEvent, ToolEnded, ToolStarted, TurnRequest
from hub.engine.tools.registry import Tools, canonical
from hub.engine.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Calling:
    """The turn in which tools are called, and how that is told."""

    request: TurnRequest
    tools: Tools
    tell: Callable[[EngineEvent], Awaitable[None]]
    agent: Callable[[], AgentSpec]


CALLING: ContextVar[Calling] = ContextVar("calling")
"""A runnable is made once and used for all sessions: where a call comes from goes with the task."""


def as_langchain(tools: Tools) -> Mapping[str, BaseTool]:
    """Those tools of which no call waits for a person or is the run's to carry out."""
    return {tool.name: _wrapped(tool) for tool in tools if tool.is_always_safe}


def written(arguments: Mapping[str, object]) -> str:
    """Arguments as JSON text, also those that models write and the hub's own JSON does not have."""
    try:
        return canonical(arguments)
    except TypeError:  # numbers beyond 64 bits, halves of characters, objects of a runnable's own
        return json.dumps(dict(arguments), default=str, skipkeys=True)


def _wrapped(tool: Tool) -> BaseTool:
    async def call(**arguments: Any) -> str:
        turn = CALLING.get()
        agent, call_id = turn.agent(), new_id()
        await turn.tell(ToolStarted(call_id, agent, tool.name, written(arguments)))
        outcome = await turn.tools.call(tool.name, arguments, turn.request.context(agent, call_id))
        await turn.tell(ToolEnded(call_id, agent, tool.name, outcome.text, outcome.is_error))
        if outcome.is_error:
            raise ToolException(outcome.shown)
        return outcome.shown

    return StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.parameters),
        infer_schema=False,
        handle_tool_error=True,
    )
