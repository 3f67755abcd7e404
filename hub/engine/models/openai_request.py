"""A conversation as an OpenAI-compatible server wants it."""

from collections.abc import Mapping, Sequence

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.engine.models.client import Tooling
from hub.engine.models.conversation import Json, arguments_of, fit, pictures, schema_of, spoken
from hub.engine.models.directed import Direction
from hub.engine.models.registry import OPENAI_URL, HostedModel


def chat_url(model: HostedModel) -> str:
    """Where a chat completion is asked for. On Azure a model is a deployment, and the interface has a date."""
    base = model.base_url.rstrip("/")
    if model.provider == "azure":
        return f"{base}/openai/deployments/{model.name}/chat/completions?api-version={model.api_version}"
    return f"{base}/chat/completions"


def chat_headers(model: HostedModel) -> dict[str, str]:
    """How the key is shown."""
    if not model.api_key:
        return {}
    return {"api-key": model.api_key} if model.provider == "azure" else {"Authorization": f"Bearer {model.api_key}"}


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
        # OpenAI's newer models refuse the older word, other servers do not know the newer one.
        newer = model.provider == "azure" or model.base_url == OPENAI_URL
        body.setdefault("max_completion_tokens" if newer else "max_tokens", model.max_tokens)
    if tools and model.calls_tools:
        body["tools"] = [{"type": "function", "function": schema_of(tool)} for tool in tools]
    return body


def _message(model: HostedModel, message: LLMMessage) -> list[Json]:
    match message:
        case SystemMessage():
            return [{"role": "system", "content": message.content}]
        case UserMessage():
            name = {"name": message.source} if model.speakers == "name" else {}
            return [{"role": "user", "content": _content(model, message), **name}]
        case AssistantMessage(content=str(text)):
            return [{"role": "assistant", "content": text}]
        case AssistantMessage():
            calls = [_call(call) for call in message.content if not isinstance(call, str)]
            return [{"role": "assistant", "content": message.thought, "tool_calls": calls}]
        case FunctionExecutionResultMessage():
            return [
                {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
                for result in message.content
            ]


def _call(call: FunctionCall) -> Json:
    """A call as the model has made it, but for what is no object: servers that read it again refuse it."""
    arguments = call.arguments if arguments_of(call.arguments) else "{}"
    return {"id": call.id, "type": "function", "function": {"name": fit(call.name), "arguments": arguments}}


def _content(model: HostedModel, message: UserMessage) -> str | list[Json]:
    text, seen = spoken(model, message), pictures(model, message)
    if not seen:
        return text
    shown = [{"type": "image_url", "image_url": {"url": picture.data_uri}} for picture in seen]
    return [{"type": "text", "text": text}, *shown]


def _merged(messages: list[Json], model: HostedModel) -> list[Json]:
    """Neighbouring messages of users as one, for templates in which roles must take turns."""
    if model.speakers == "name":
        return messages
    merged: list[Json] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] == "user" and _both_text(message, merged[-1]):
            merged[-1] = {"role": "user", "content": f"{merged[-1]['content']}\n\n{message['content']}"}
        else:
            merged.append(message)
    return merged


def _both_text(one: Json, other: Json) -> bool:
    return isinstance(one["content"], str) and isinstance(other["content"], str)
