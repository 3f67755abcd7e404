"""A conversation as an OpenAI-compatible server wants it."""

from collections.abc import Mapping, Sequence
from typing import Any

from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.engine.models.client import Tooling
from hub.engine.models.directed import Direction
from hub.engine.models.registry import HostedModel

Json = dict[str, Any]


def chat_request(
    model: HostedModel,
    messages: Sequence[LLMMessage],
    tools: Tooling,
    extra: Mapping[str, object],
    direction: Direction | None,
) -> Json:
    """The body of a streamed chat completion."""
    if direction is not None:
        told = direction.dialogue(messages)
    else:
        told = _merged([part for message in messages for part in _message(model, message)], model)
    body: Json = {
        "model": model.name,
        "messages": told,
        "stream": True,
        "stream_options": {"include_usage": True},
        **model.parameters,
        **extra,
    }
    if model.max_tokens is not None:
        body.setdefault("max_tokens", model.max_tokens)
    if tools and model.calls_tools:
        body["tools"] = [
            {"type": "function", "function": tool if isinstance(tool, Mapping) else tool.schema} for tool in tools
        ]
    return body


def newer_half(messages: Sequence[LLMMessage]) -> list[LLMMessage]:
    """A conversation without its older half, instructions kept. Empty when there is nothing left to leave out."""
    instructions = [message for message in messages if isinstance(message, SystemMessage)]
    said = [message for message in messages if not isinstance(message, SystemMessage)]
    kept = said[(len(said) + 1) // 2 :]
    while kept and isinstance(kept[0], FunctionExecutionResultMessage):
        del kept[0]  # providers refuse a tool's result without the call it answers
    return [*instructions, *kept] if kept else []


def _message(model: HostedModel, message: LLMMessage) -> list[Json]:
    match message:
        case SystemMessage():
            return [{"role": "system", "content": message.content}]
        case UserMessage():
            return [_user(model, message)]
        case AssistantMessage(content=str(text)):
            return [{"role": "assistant", "content": text}]
        case AssistantMessage():
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.content
                if not isinstance(call, str)
            ]
            return [{"role": "assistant", "content": message.thought, "tool_calls": calls}]
        case FunctionExecutionResultMessage():
            return [
                {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
                for result in message.content
            ]


def _user(model: HostedModel, message: UserMessage) -> Json:
    text = message.content if isinstance(message.content, str) else " ".join(map(str, message.content))
    match model.speakers:
        case "name":
            return {"role": "user", "content": text, "name": message.source}
        case "line":
            return {"role": "user", "content": f"{message.source} said:\n{text}"}
        case "directed":  # a question of the hub's own, such as who is to speak next
            return {"role": "user", "content": text}


def _merged(messages: list[Json], model: HostedModel) -> list[Json]:
    """Neighbouring messages of users as one, for templates in which roles must take turns."""
    if model.speakers == "name":
        return messages
    merged: list[Json] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] == "user":
            merged[-1] = {"role": "user", "content": f"{merged[-1]['content']}\n\n{message['content']}"}
        else:
            merged.append(message)
    return merged
