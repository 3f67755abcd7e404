"""Model calls of a turn: told as they stream, counted, and their real errors kept."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage

from hub.domain.ids import new_id
from hub.domain.run import Usage
from hub.domain.team import AgentSpec
from hub.engine.autogen.handoffs import settled
from hub.engine.autogen.telling import Telling
from hub.engine.base import MessageEnded, ReasoningDelta, TextDelta
from hub.engine.models.client import StreamingClient, Thought


class MeteredClient(StreamingClient):
    """Counts the tokens of a model's calls, the failed and unfinished ones too, and keeps its real exception.

    A call that did not come to its end counts the pieces it streamed.
    """

    def __init__(self, inner: ChatCompletionClient, telling: Telling) -> None:
        super().__init__(calls_tools=inner.model_info["function_calling"])
        self._inner = inner
        self._telling = telling

    async def create_stream(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        task = asyncio.current_task()
        if cancellation_token is not None and task is not None:
            # A cancelled token ends the call at whatever it waits for, and not only between two tokens.
            cancellation_token.link_future(task)
        pieces = 0
        usage: Usage | None = None
        stream = self._inner.create_stream(messages, cancellation_token=cancellation_token, **options)
        try:
            async with aclosing(stream):
                async for piece in stream:
                    if isinstance(piece, str):
                        pieces += 1
                    else:
                        usage = Usage(piece.usage.prompt_tokens, piece.usage.completion_tokens)
                    yield piece
        except Exception as e:
            self._telling.fault = self._telling.fault or e
            raise
        finally:
            self._telling.usage += usage or Usage(0, pieces)


class SpeakingClient(MeteredClient):
    """The model of one agent: what it says is told at once, here, and not as events through AutoGen.

    This is the token path. AutoGen's own chunk events would cost ten times as much before they reached the agent, and
    a hundred times as much beyond it; it gets each answer whole, at the end.
    """

    def __init__(self, inner: ChatCompletionClient, telling: Telling, agent: AgentSpec) -> None:
        super().__init__(inner, telling)
        self._agent = agent
        self._message = new_id()
        self._thoughts: list[str] = []

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        stream_out, message, agent = self._telling.stream, self._message, self._agent
        said: list[str] = []
        async with aclosing(super().create_stream(messages, **options)) as stream:
            async for piece in stream:
                if isinstance(piece, CreateResult):
                    if not isinstance(piece.content, str):
                        piece.content = settled(piece.content, self._agent)
                    await self._end("".join(said), piece)
                    yield piece
                elif isinstance(piece, Thought):
                    self._thoughts.append(piece)
                    await stream_out(ReasoningDelta(message, agent, piece))
                else:
                    said.append(piece)
                    await stream_out(TextDelta(message, agent, piece))

    async def _end(self, said: str, result: CreateResult) -> None:
        """Close the message, unless the model only called tools: then what it thought belongs to its next words."""
        text = result.content if isinstance(result.content, str) else said
        if not text and not isinstance(result.content, str):
            return
        if text and not said:
            await self._telling.tell(TextDelta(self._message, self._agent, text))
        usage = Usage(result.usage.prompt_tokens, result.usage.completion_tokens)
        reasoning = "".join(self._thoughts) or None
        self._telling.last_text = text
        await self._telling.tell(MessageEnded(self._message, self._agent, text, usage, reasoning))
        self._message, self._thoughts = new_id(), []
