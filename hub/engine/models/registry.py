"""The models that teams may use, by alias."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

OPENAI_URL = "https://api.openai.com/v1"

Provider = Literal["openai", "azure", "anthropic", "ollama"]


@dataclass(frozen=True, slots=True)
class ModelDeadlines:
    """How long a model may take, in seconds: to say its first token, and between two tokens."""

    first_s: float = 30.0
    idle_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in the operator's currency."""

    prompt: float = 0.0
    completion: float = 0.0

    def micros(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The cost of so many tokens in millionths of the currency, rounded up: what a token costs is small."""
        return math.ceil(prompt_tokens * self.prompt + completion_tokens * self.completion - 1e-9)


@dataclass(frozen=True, slots=True)
class ScriptedModel:
    """Says what the message that asked for the run tells it to say (`hub.engine.script`)."""

    name: str = "scripted"


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model behind an address, which speaks as its `provider` does.

    `parameters` go into every request as they are. `context_characters` bounds what of a conversation is sent, oldest
    first to go; None is everything. `max_tokens` bounds an answer; with `sentence_after`, an answer that has so many
    tokens ends with the sentence it is in. `calls_tools`, `sees` and `writes_json` tell whether the model takes tools,
    pictures and a demand for JSON, `takes_grammar` whether its server constrains answers by a GBNF grammar
    (llama.cpp). `speakers` is how it is told who says what: in OpenAI's field `name`, by a line before each message, or
    not at all, as a dialogue with directions (`models.directed`).

    `deadlines` are the hub's when None. A call is tried `retries` times again, and then the models with the aliases
    `fallbacks` are asked, in their order; both only as long as no token has come.
    """

    base_url: str
    name: str
    api_key: str = field(default="", repr=False)
    provider: Provider = "openai"
    api_version: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    context_characters: int | None = None
    max_tokens: int | None = None
    sentence_after: int | None = None
    speakers: Literal["name", "line", "directed"] = "line"
    calls_tools: bool = True
    sees: bool = False
    writes_json: bool = False
    takes_grammar: bool = False
    deadlines: ModelDeadlines | None = None
    retries: int = 3  # with their pauses they outlast the start of a local server
    fallbacks: Sequence[str] = ()
    price: Price = Price()


Model = ScriptedModel | HostedModel


class Models:
    """Models by alias; `default` is the alias of teams that name none.

    ValueError when it, or a fallback, is not among them.
    """

    def __init__(self, models: Mapping[str, Model], *, default: str) -> None:
        named = [default, *(alias for model in models.values() for alias in _fallbacks(model))]
        for alias in named:
            if alias not in models:
                raise ValueError(f"no model has the alias {alias!r}; there are: {', '.join(sorted(models))}")
        self._models = dict(models)
        self._default = default

    def __contains__(self, alias: str) -> bool:
        return alias in self._models

    @property
    def default(self) -> str:
        """The alias of teams that name none."""
        return self._default

    def aliases(self) -> Collection[str]:
        """All aliases."""
        return self._models.keys()

    def get(self, alias: str | None) -> Model:
        """The model of an alias, or the default one. KeyError for an alias that does not exist."""
        return self._models[alias if alias is not None else self._default]

    def chain(self, alias: str | None) -> list[tuple[str, Model]]:
        """The model of an alias, or the default one, and those to ask when it gives no answer, by their aliases.

        Fallbacks of fallbacks are not asked. KeyError for an alias that does not exist.
        """
        first = alias if alias is not None else self._default
        return [(one, self._models[one]) for one in dict.fromkeys([first, *_fallbacks(self._models[first])])]


def tuned(model: Model, *, temperature: float | None, max_tokens: int | None) -> Model:
    """A model with an agent's own temperature and length of an answer, where they are given."""
    if not isinstance(model, HostedModel) or (temperature is None and max_tokens is None):
        return model
    parameters = dict(model.parameters) if temperature is None else {**model.parameters, "temperature": temperature}
    return replace(model, parameters=parameters, max_tokens=model.max_tokens if max_tokens is None else max_tokens)


def local_model(base_url: str) -> HostedModel:
    """SmolLM2-135M on a llama.cpp server: quick, talkative, knows next to nothing."""
    return HostedModel(
        base_url=base_url,
        name="smollm2",
        parameters={"temperature": 0.3, "top_p": 0.9, "repeat_penalty": 1.1, "timings_per_token": True},
        max_tokens=80,
        sentence_after=18,  # some 30 tokens, half a second: after two seconds the second agent speaks
        speakers="directed",
        calls_tools=False,
        takes_grammar=True,
    )


def openai_model(base_url: str | None, api_key: str, name: str) -> HostedModel:
    """A model of OpenAI's, or of any provider with the same interface at `base_url` (which ends in `/v1` or alike)."""
    return HostedModel(
        base_url=base_url or OPENAI_URL,
        name=name,
        api_key=api_key,
        context_characters=200_000,
        speakers="name" if base_url in (None, OPENAI_URL) else "line",  # others may refuse the field
    )


def _fallbacks(model: Model) -> Sequence[str]:
    return model.fallbacks if isinstance(model, HostedModel) else ()
