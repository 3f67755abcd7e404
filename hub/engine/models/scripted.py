"""A model that says what the run's script says: for scripted teams on AutoGen, or for all when there is no model."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from io import StringIO
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
    UserMessage,
)

from hub.domain.ids import new_id
from hub.engine.models.client import StreamingClient
from hub.engine.models.registry import ModelDeadlines
from hub.engine.script import Said, Script
from hub.engine.timer_wheel import TimerWheel


class ScriptedClient(StreamingClient):
    """Plays one turn of a script. What it tells of the conversation (`history`) is what it was really sent."""

    def __init__(self, script: Script, turn: int, deadlines: ModelDeadlines, wheel: TimerWheel | None = None) -> None:
        super().__init__(calls_tools=True)
        self._wheel = wheel or TimerWheel()
        self._script = script
        self._turn = turn
        self._deadlines = deadlines

    async def create_stream(
        self, messages: Sequence[LLMMessage], **_options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        context = list(_context(messages))
        prompt_tokens = sum(len(said.text.split()) for said in context)
        answered = bool(messages) and isinstance(messages[-1], FunctionExecutionResultMessage)
        if self._script.calls_tool(self._turn) and not answered:
            arguments = json.dumps(self._script.arguments)
            call = FunctionCall(id=new_id(), name=self._script.tool, arguments=arguments)
            yield _result([call], RequestUsage(prompt_tokens=0, completion_tokens=0))
            return
        text, tokens = StringIO(), 0
        loop = asyncio.get_running_loop()
        for moment, piece in self._script.steps(self._turn, context, loop.time, idle_s=self._deadlines.idle_s):
            if moment is not None:
                await self._wheel.until(moment, loop)
            if piece:
                text.write(piece)
                tokens += 1
                yield piece
        yield _result(text.getvalue(), RequestUsage(prompt_tokens=prompt_tokens, completion_tokens=tokens))


def _context(messages: Sequence[LLMMessage]) -> Iterator[Said]:
    """What people and agents have said, without instructions and tool calls."""
    for message in messages:
        if isinstance(message, UserMessage | AssistantMessage) and isinstance(message.content, str):
            yield Said(message.source, message.content)


def _result(content: str | list[FunctionCall], usage: RequestUsage) -> CreateResult:
    finish = "stop" if isinstance(content, str) else "function_calls"
    return CreateResult(finish_reason=finish, content=content, usage=usage, cached=False)
