"""What of a conversation an agent's model is shown, and what the agent keeps of it."""

from collections.abc import Awaitable, Callable, Sequence

from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import AssistantMessage, FunctionExecutionResultMessage, LLMMessage, UserMessage

from hub.domain.team import Keep, Memory
from hub.engine.base import SUMMARY
from hub.engine.models.client import CHARACTERS_PER_TOKEN
from hub.engine.models.errors import ModelError

Summarise = Callable[[Sequence[LLMMessage]], Awaitable[str]]
"""Tells a conversation in a few sentences. Raises ModelError."""


class RecentContext(ChatCompletionContext):
    """The newest messages that have at most `characters` together; all when it is None, the last one in any case. Those
    that are not shown stay in the agent's state.

    `memory` tells what the agent keeps of it all: what it does not keep is neither shown nor in its next state. Where
    older messages are summarised and that fails, they are kept until it succeeds. What `agent` itself has said and is
    told again are its own words.
    """

    def __init__(
        self, agent: str, characters: int | None, memory: Memory | None = None, summarise: Summarise | None = None
    ) -> None:
        super().__init__()
        self._agent = agent
        self._characters = characters
        self._memory = memory or Memory()
        self._summarise = summarise

    async def add_message(self, message: LLMMessage) -> None:
        if isinstance(message, UserMessage) and message.source == self._agent and isinstance(message.content, str):
            message = AssistantMessage(content=message.content, source=message.source)
        await super().add_message(message)

    async def get_messages(self) -> list[LLMMessage]:
        await self._forget()
        return whole_calls(self._newest(self._messages, self._characters))

    async def _forget(self) -> None:
        memory, messages = self._memory, self._messages
        match memory.keep:
            case Keep.ALL:
                return
            case Keep.LAST:
                kept = messages[-memory.last :]
            case Keep.ENDS:
                begin = min(memory.first, max(0, len(messages) - memory.last))
                kept = [*messages[:begin], *messages[begin:][-memory.last :]]
            case Keep.TOKENS:
                kept = self._newest(messages, memory.tokens * CHARACTERS_PER_TOKEN)
            case Keep.SUMMARY:
                kept = await self._summarised(messages)
        self._messages[:] = whole_calls(kept)

    async def _summarised(self, messages: list[LLMMessage]) -> list[LLMMessage]:
        """At twice the number of messages, all but the newest become one: so that not every turn asks for it."""
        last = self._memory.last
        if self._summarise is None or len(messages) <= 2 * last:
            return messages
        recent = messages[-last:]
        while isinstance(recent[0], FunctionExecutionResultMessage) and len(recent) < len(messages):
            recent = messages[-len(recent) - 1 :]  # a result stays with its call
        try:
            text = await self._summarise(messages[: -len(recent)])
        except ModelError:
            return messages
        return [UserMessage(content=f"What was said before, in short:\n{text}", source=SUMMARY), *recent]

    @staticmethod
    def _newest(messages: list[LLMMessage], characters: int | None) -> list[LLMMessage]:
        if characters is None:
            return list(messages)
        left, first = characters, len(messages)
        while first > 0:
            left -= len(str(messages[first - 1].content))
            if left < 0 and first < len(messages):
                break
            first -= 1
        return messages[first:]


def whole_calls(messages: Sequence[LLMMessage]) -> list[LLMMessage]:
    """Without results whose calls are not there, and calls without their results: providers refuse both."""
    whole: list[LLMMessage] = []
    for message in messages:
        answers = isinstance(message, FunctionExecutionResultMessage)
        asked = bool(whole) and isinstance(whole[-1], AssistantMessage) and not isinstance(whole[-1].content, str)
        if asked and not answers:
            whole.pop()
        if asked or not answers:
            whole.append(message)
    return whole
