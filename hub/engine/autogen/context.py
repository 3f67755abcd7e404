"""What of a conversation an agent's model is shown."""

from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import AssistantMessage, FunctionExecutionResultMessage, LLMMessage, UserMessage


class RecentContext(ChatCompletionContext):
    """The newest messages that have at most `characters` together; all when it is None, the last one in any case.

    What is not shown stays in the agent's state. What `agent` itself has said and is told again are its own words.
    """

    def __init__(self, agent: str, characters: int | None) -> None:
        super().__init__()
        self._agent = agent
        self._characters = characters

    async def add_message(self, message: LLMMessage) -> None:
        if isinstance(message, UserMessage) and message.source == self._agent and isinstance(message.content, str):
            message = AssistantMessage(content=message.content, source=message.source)
        await super().add_message(message)

    async def get_messages(self) -> list[LLMMessage]:
        if self._characters is None:
            return list(self._messages)
        left, first = self._characters, len(self._messages)
        while first > 0:
            left -= len(str(self._messages[first - 1].content))
            if left < 0 and first < len(self._messages):
                break
            first -= 1
        shown = self._messages[first:]
        while shown and isinstance(shown[0], FunctionExecutionResultMessage):
            del shown[0]  # providers refuse a tool's result without the call it answers
        return shown
