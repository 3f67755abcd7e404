"""Anthropic's Messages interface: how it is asked, and how it answers."""

from collections.abc import Iterator, Mapping, Sequence

from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.domain.ids import new_id
from hub.engine.models.answer import LENGTH, STOP, WITHHELD, Answer, StreamedCall, broke_off, malformed
from hub.engine.models.client import Tooling
from hub.engine.models.conversation import GO_ON, Json, arguments_of, fit, pictures, schema_of, spoken
from hub.engine.models.registry import HostedModel

VERSION = "2023-06-01"
MAX_TOKENS = 4_096  # of an answer, when the model's entry says nothing: the interface wants a number

_FINISHED = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "tool_use": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "refusal": WITHHELD,
}


def messages_url(model: HostedModel) -> str:
    """Where an answer is asked for."""
    return f"{model.base_url.rstrip('/')}/v1/messages"


def messages_headers(model: HostedModel) -> dict[str, str]:
    """How the key is shown, and which interface is meant."""
    key = {"x-api-key": model.api_key} if model.api_key else {}
    return {"anthropic-version": model.api_version or VERSION, **key}


def messages_request(
    model: HostedModel, messages: Sequence[LLMMessage], tools: Tooling, extra: Mapping[str, object]
) -> Json:
    """The body of a streamed message."""
    instructions = [message.content for message in messages if isinstance(message, SystemMessage)]
    body: Json = {
        "model": model.name,
        "max_tokens": model.max_tokens or MAX_TOKENS,
        "messages": _turns(model, messages),
        "stream": True,
        **model.parameters,
        **extra,
    }
    if instructions:
        body["system"] = "\n\n".join(instructions)
    if tools and model.calls_tools:
        body["tools"] = [_tool(schema_of(tool)) for tool in tools]
    return body


class AnthropicAnswer(Answer):
    """The events of a streamed message."""

    def __init__(self, sentence_after: int | None) -> None:
        super().__init__(sentence_after)
        self._prompt = 0

    def take(self, event: dict[str, object]) -> list[str]:
        match event:
            case {"type": "error", "error": error}:
                raise broke_off(error)
            case {"type": "message_start", "message": {"usage": dict(usage)}}:
                self._take_usage(usage)
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                return self._begin(index, block)
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                return self._add(index, delta)
            case {"type": "message_delta", "delta": dict(delta)}:
                if isinstance(reason := delta.get("stop_reason"), str):
                    self._finish = _FINISHED.get(reason, reason)
                if isinstance(used := event.get("usage"), dict):
                    self._take_usage(used)
            case {"type": "message_stop"}:
                self.done()
            case {"type": str()}:  # pings, the ends of blocks, and what may come in later versions
                pass
            case _:
                raise malformed("an event has no type")
        return []

    def _begin(self, index: int, block: Json) -> list[str]:
        match block:
            case {"type": "tool_use", "name": str(name)}:
                self._calls[index] = StreamedCall(id=block.get("id") or new_id(), name=name)
                self._count(len(name))
                return []
            case {"type": "text", "text": str(text)}:
                return self._say(text)
            case _:
                return []

    def _add(self, index: int, delta: Json) -> list[str]:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return self._say(text)
            case {"type": "thinking_delta", "thinking": str(text)}:
                return self._think(text)
            case {"type": "input_json_delta", "partial_json": str(part)}:
                if (call := self._calls.get(index)) is None:
                    raise malformed("arguments without a call")
                call.arguments += part
                self._count(len(part))
        return []

    def _take_usage(self, usage: Json) -> None:
        """The first event tells of the prompt, the last of the answer; what was read from a cache counts, too."""
        parts = [usage.get(f"{kind}input_tokens") for kind in ("", "cache_creation_", "cache_read_")]
        self._prompt = sum(part for part in parts if isinstance(part, int)) or self._prompt
        answer = usage.get("output_tokens")
        self._used(self._prompt, answer if isinstance(answer, int) else self._usage.completion_tokens)


def _turns(model: HostedModel, messages: Sequence[LLMMessage]) -> list[Json]:
    """The conversation as turns of user and assistant, the first and the last of them the user's."""
    turns: list[Json] = []
    for message in messages:
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        blocks = list(_blocks(model, message))
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    going_on = {"role": "user", "content": [_text(GO_ON)]}
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, going_on)
    if turns[-1]["role"] != "user":  # else the answer would be taken for begun
        turns.append(going_on)
    return turns


def _blocks(model: HostedModel, message: LLMMessage) -> Iterator[Json]:
    """Text that is blank is refused, and so is left out."""
    match message:
        case SystemMessage():
            return
        case UserMessage():
            yield _text(spoken(model, message))
            for picture in pictures(model, message):
                source = {"type": "base64", "media_type": picture.media_type, "data": picture.base64}
                yield {"type": "image", "source": source}
        case AssistantMessage(content=str(text)):
            if text.strip():
                yield _text(text.rstrip())
        case AssistantMessage():
            if message.thought is not None and message.thought.strip():
                yield _text(message.thought.rstrip())
            for call in message.content:
                if not isinstance(call, str):
                    yield {
                        "type": "tool_use",
                        "id": fit(call.id),
                        "name": fit(call.name),
                        "input": arguments_of(call.arguments),
                    }
        case FunctionExecutionResultMessage():
            for result in message.content:
                yield {
                    "type": "tool_result",
                    "tool_use_id": fit(result.call_id),
                    "content": result.content,
                    "is_error": bool(result.is_error),
                }


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _tool(schema: Mapping[str, object]) -> Json:
    return {
        "name": schema["name"],
        "description": schema.get("description", ""),
        "input_schema": schema.get("parameters") or {"type": "object", "properties": {}},
    }
