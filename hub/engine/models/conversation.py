"""What all providers need done to a conversation before it is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from autogen_core import Image
from autogen_core.models import FunctionExecutionResultMessage, LLMMessage, SystemMessage, UserMessage
from autogen_core.tools import Tool, ToolSchema

from hub.domain.ids import AttachmentId
from hub.engine.attached import MAX_PICTURES, Picture, See, pictures_in
from hub.engine.models.registry import HostedModel

Json = dict[str, Any]
GO_ON = "Go on."


def spoken(model: HostedModel, message: UserMessage) -> str:
    """What a user or another agent has said, with who it was, unless the provider has a field for that."""
    text = message.content if isinstance(message.content, str) else " ".join(map(_words, message.content))
    return f"{message.source} said:\n{text}" if model.speakers == "line" else text


class ShownMessage(UserMessage):
    """What was said, with the pictures that it names."""

    shown: list[Picture]


def pictures(model: HostedModel, message: UserMessage) -> list[Picture]:
    """What a model that sees is shown beside the words."""
    if not model.sees:
        return []
    if isinstance(message, ShownMessage):
        return message.shown
    parts = message.content if not isinstance(message.content, str) else ()
    return [Picture("image/png", part.to_base64()) for part in parts if isinstance(part, Image)]


async def shown(messages: Sequence[LLMMessage], see: See) -> Sequence[LLMMessage]:
    """The conversation with the newest of the pictures that are named in it."""
    named = [
        id_
        for message in messages
        if isinstance(message, UserMessage) and isinstance(message.content, str)
        for id_ in pictures_in(message.content)
    ]
    newest = list(dict.fromkeys(reversed(named)))[:MAX_PICTURES]
    found = await see(newest) if newest else {}
    if not found:
        return messages
    return [_shown(message, found) for message in messages]


def _shown(message: LLMMessage, found: Mapping[AttachmentId, Picture]) -> LLMMessage:
    if not isinstance(message, UserMessage) or not isinstance(message.content, str):
        return message
    seen = [found[id_] for id_ in pictures_in(message.content) if id_ in found]
    return ShownMessage(content=message.content, source=message.source, shown=seen) if seen else message


def newer_half(messages: Sequence[LLMMessage]) -> list[LLMMessage]:
    """A conversation without its older half, instructions kept. Empty when there is nothing left to leave out."""
    instructions = [message for message in messages if isinstance(message, SystemMessage)]
    said = [message for message in messages if not isinstance(message, SystemMessage)]
    kept = said[(len(said) + 1) // 2 :]
    while kept and isinstance(kept[0], FunctionExecutionResultMessage):
        del kept[0]  # providers refuse a tool's result without the call it answers
    return [*instructions, *kept] if kept else []


def schema_of(tool: Tool | ToolSchema) -> Mapping[str, Any]:
    """Name, description and parameters of a tool."""
    return tool if isinstance(tool, Mapping) else tool.schema


def arguments_of(text: str) -> Json:
    """A call's arguments for providers that want an object back; what was none was refused by the tool."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _words(part: str | Image) -> str:
    return part if isinstance(part, str) else "[a picture]"
