"""What all providers need done to a conversation before it is sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from autogen_core import Image
from autogen_core.models import FunctionExecutionResultMessage, LLMMessage, SystemMessage, UserMessage
from autogen_core.tools import Tool, ToolSchema

from hub.domain.ids import AttachmentId
from hub.engine.attached import Content, Fetch, Picture, given, newest
from hub.engine.models.registry import HostedModel

Json = dict[str, Any]
GO_ON = "Go on."
MAX_NAME = 64

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


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


async def shown(messages: Sequence[LLMMessage], fetch: Fetch, *, sees: bool) -> Sequence[LLMMessage]:
    """The conversation with the newest texts that are named in it, and for a model that sees the newest pictures."""
    wanted = newest([_said(message) for message in messages], sees=sees)
    found = await fetch(wanted) if wanted else {}
    return [_shown(message, found) for message in messages] if found else messages


def _said(message: LLMMessage) -> str:
    return message.content if isinstance(message, UserMessage) and isinstance(message.content, str) else ""


def _shown(message: LLMMessage, found: Mapping[AttachmentId, Content]) -> LLMMessage:
    said = _said(message)
    text, pictures = given(said, found)
    if not isinstance(message, UserMessage) or (text == said and not pictures):
        return message
    return ShownMessage(content=text, source=message.source, shown=pictures)


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


def fit(name: str) -> str:
    """A name as providers take it back. Models do make up others, and would be refused all that comes after."""
    return _UNFIT.sub("_", name)[:MAX_NAME] or "unnamed"


def _words(part: str | Image) -> str:
    return part if isinstance(part, str) else "[a picture]"
