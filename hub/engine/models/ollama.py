"""Ollama's own chat interface: how it is asked, and how it answers.

Not its OpenAI-compatible one, which takes no size of the context: what does not fit is then cut off silently.
"""

from collections.abc import Mapping, Sequence

import orjson
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

from hub.domain.ids import new_id
from hub.engine.models.answer import LENGTH, STOP, Answer, StreamedCall, broke_off, malformed
from hub.engine.models.client import Tooling
from hub.engine.models.conversation import Json, arguments_of, pictures, schema_of, spoken
from hub.engine.models.registry import HostedModel

OF_THE_REQUEST = frozenset({"think", "keep_alive", "format"})
"""Parameters that stand beside the options."""


def ollama_url(model: HostedModel) -> str:
    """Where an answer is asked for."""
    return f"{model.base_url.rstrip('/')}/api/chat"


def ollama_headers(model: HostedModel) -> dict[str, str]:
    """Ollama has no keys; a proxy before it may."""
    return {"Authorization": f"Bearer {model.api_key}"} if model.api_key else {}


def ollama_request(
    model: HostedModel, messages: Sequence[LLMMessage], tools: Tooling, extra: Mapping[str, object]
) -> Json:
    """The body of a streamed chat."""
    given = {**model.parameters, **extra}
    options = {name: value for name, value in given.items() if name not in OF_THE_REQUEST}
    if model.max_tokens is not None:
        options.setdefault("num_predict", model.max_tokens)
    if (limit := options.pop("max_tokens", None)) is not None:
        options["num_predict"] = limit
    body: Json = {
        "model": model.name,
        "messages": [part for message in messages for part in _message(model, message)],
        "stream": True,
        **{name: value for name, value in given.items() if name in OF_THE_REQUEST},
    }
    if options:
        body["options"] = options
    if tools and model.calls_tools:
        body["tools"] = [{"type": "function", "function": schema_of(tool)} for tool in tools]
    return body


class OllamaAnswer(Answer):
    """One JSON object a line; the last one is `done` and tells what was used."""

    def take(self, event: dict[str, object]) -> list[str]:
        match event:
            case {"error": error} if error:
                raise broke_off(error)
            case {"message": dict(message)}:
                pieces = self._pieces(message)
            case {"done": True}:
                pieces = []
            case _:
                raise malformed("a line has no message")
        if event.get("done") is True:
            reason = event.get("done_reason")
            self._finish = LENGTH if reason == "length" else STOP
            prompt, answer = event.get("prompt_eval_count"), event.get("eval_count")
            self._used(prompt if isinstance(prompt, int) else 0, answer if isinstance(answer, int) else 0)
        return pieces

    def _pieces(self, message: Json) -> list[str]:
        pieces: list[str] = []
        if isinstance(thought := message.get("thinking"), str):
            pieces += self._think(thought)
        if isinstance(said := message.get("content"), str):
            pieces += self._say(said)
        if isinstance(calls := message.get("tool_calls"), list):
            for call in calls:
                self._call(call)
        return pieces

    def _call(self, call: object) -> None:
        """Calls come whole. What their arguments are is for the tool to judge."""
        match call:
            case {"function": {"name": str(name), **more}}:
                arguments = orjson.dumps(more.get("arguments") or {}).decode()
                self._calls[len(self._calls)] = StreamedCall(id=new_id(), name=name, arguments=arguments)
                self._count(len(arguments))
            case _:
                raise malformed("a tool call has no function")


def _message(model: HostedModel, message: LLMMessage) -> list[Json]:
    match message:
        case SystemMessage():
            return [{"role": "system", "content": message.content}]
        case UserMessage():
            seen = [picture.base64 for picture in pictures(model, message)]
            return [{"role": "user", "content": spoken(model, message), **({"images": seen} if seen else {})}]
        case AssistantMessage(content=str(text)):
            return [{"role": "assistant", "content": text}]
        case AssistantMessage():
            calls = [
                {"function": {"name": call.name, "arguments": arguments_of(call.arguments)}}
                for call in message.content
                if not isinstance(call, str)
            ]
            return [{"role": "assistant", "content": message.thought or "", "tool_calls": calls}]
        case FunctionExecutionResultMessage():
            return [{"role": "tool", "tool_name": result.name, "content": result.content} for result in message.content]
