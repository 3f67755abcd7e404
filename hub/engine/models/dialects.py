"""How each kind of provider is asked, and how it answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from autogen_core.models import LLMMessage

from hub.engine.models.answer import Answer
from hub.engine.models.anthropic import AnthropicAnswer, messages_headers, messages_request, messages_url
from hub.engine.models.client import Tooling
from hub.engine.models.conversation import Json
from hub.engine.models.directed import Direction
from hub.engine.models.ollama import OllamaAnswer, ollama_headers, ollama_request, ollama_url
from hub.engine.models.openai_answer import OpenAiAnswer
from hub.engine.models.openai_request import chat_headers, chat_request, chat_url
from hub.engine.models.registry import HostedModel


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is sent: everything but the connection."""

    url: str
    headers: Mapping[str, str]
    body: Json


def ask(
    model: HostedModel,
    messages: Sequence[LLMMessage],
    tools: Tooling,
    extra: Mapping[str, object],
    direction: Direction | None = None,
    *,
    as_json: bool = False,
) -> Asked:
    """The request for a streamed answer."""
    if not model.takes_grammar:  # other servers refuse what they do not know
        extra = {name: value for name, value in extra.items() if name != "grammar"}
    as_json = as_json and model.writes_json
    match model.provider:
        case "openai" | "azure":
            if as_json:
                extra = {"response_format": {"type": "json_object"}, **extra}
            body = chat_request(model, messages, tools, extra, direction)
            return Asked(chat_url(model), chat_headers(model), body)
        case "anthropic":
            return Asked(messages_url(model), messages_headers(model), messages_request(model, messages, tools, extra))
        case "ollama":
            if as_json:
                extra = {"format": "json", **extra}
            return Asked(ollama_url(model), ollama_headers(model), ollama_request(model, messages, tools, extra))
        case _:
            assert_never(model.provider)


def answer_of(model: HostedModel) -> Answer:
    """What reads the answer."""
    match model.provider:
        case "openai" | "azure":
            return OpenAiAnswer(model.sentence_after)
        case "anthropic":
            return AnthropicAnswer(model.sentence_after)
        case "ollama":
            return OllamaAnswer(model.sentence_after)
        case _:
            assert_never(model.provider)


def events_in(model: HostedModel) -> Callable[[list[bytes]], Iterator[bytes]]:
    """What finds the events in the lines of a stream: Ollama sends JSON lines, all others server-sent events."""
    return _json_lines if model.provider == "ollama" else _data_lines


def _data_lines(lines: list[bytes]) -> Iterator[bytes]:
    return (line[5:].strip() for line in lines if line.startswith(b"data:"))


def _json_lines(lines: list[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.strip())
