"""Telling an older part of a conversation in a few sentences, by the team's model."""

from collections.abc import Sequence

from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.engine.autogen.metered import MeteredClient
from hub.engine.autogen.telling import Telling
from hub.engine.models.errors import ModelError

TASK = """Summarise this part of a conversation for somebody who goes on with it. Keep names, numbers, decisions, open \
questions and what was promised; leave out greetings and repetitions. At most ten sentences, no headings."""
SHOWN_CHARACTERS = 2_000  # of a message
ALL_CHARACTERS = 60_000


async def summarise(client: MeteredClient, telling: Telling, messages: Sequence[LLMMessage]) -> str:
    """The summary. Raises ModelError; the turn goes on without one."""
    told = "\n\n".join(words for message in messages if (words := _words(message)))
    asked: list[LLMMessage] = [SystemMessage(content=TASK), UserMessage(content=told[-ALL_CHARACTERS:], source="user")]
    try:
        return str((await client.create(asked)).content)
    except ModelError as e:
        if telling.fault is e:  # nothing that breaks the turn
            telling.fault = None
        raise


def _words(message: LLMMessage) -> str:
    match message:
        case UserMessage() | AssistantMessage(content=str()):
            text = message.content if isinstance(message.content, str) else "(a picture)"
            return f"{message.source}: {text[:SHOWN_CHARACTERS]}"
        case FunctionExecutionResultMessage():
            return "\n".join(f"({result.name}: {result.content[:SHOWN_CHARACTERS]})" for result in message.content)
        case _:
            return ""
