"""The form of the file of models (`hub model schema` prints its JSON Schema)."""

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from hub.engine.forms import Complaint, Form, unknown
from hub.engine.models.registry import OPENAI_URL, HostedModel, ModelDeadlines, Price, Provider
from hub.engine.yaml_source import Path

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
ANTHROPIC_URL = "https://api.anthropic.com"
OLLAMA_URL = "http://127.0.0.1:11434"
AZURE_VERSION = "2024-10-21"
RESERVED = "scripted"  # always there

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/\-]*)?")
_KEPT = frozenset({"model", "messages", "stream", "stream_options", "tools", "system", "options", "max_tokens"})
_MODELS_WITH_KEYS = ("openai", "azure", "anthropic", "ollama")


def _address(text: str) -> str:
    if _URL.fullmatch(text) is None:
        raise ValueError("an address is written http(s)://host[:port][/path], without user, query and fragment")
    return text.rstrip("/")


ModelAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$")]
Seconds = Annotated[float, Field(gt=0, le=3600, strict=False)]
Money = Annotated[float, Field(ge=0, le=1_000_000, strict=False)]


class PriceForm(Form):
    """What a million tokens cost, in a currency of your choice, the same for all models."""

    input: Annotated[Money, Field(description="Of what is sent.")] = 0.0
    output: Annotated[Money, Field(description="Of what the model says.")] = 0.0


class AbilitiesForm(Form):
    """What a model can do; what it cannot do is not asked of it."""

    tools: Annotated[bool, Field(description="Calls tools and hands over.")] = True
    vision: Annotated[bool, Field(description="Sees pictures.")] = False
    json_: Annotated[bool, Field(alias="json", description="Answers in JSON when told to.")] = False


class ModelForm(Form):
    """One model: whose it is, where it is, and how it is asked."""

    provider: Annotated[
        Literal["openai", "azure", "anthropic", "ollama", "local", "scripted"],
        Field(
            description="How it speaks. openai: OpenAI, and every server with the same interface. local: the small "
            "model that comes with the hub. scripted: says what the message tells it to, for tests."
        ),
    ]
    name: Annotated[Name | None, Field(description="What the provider calls it; on Azure, the deployment.")] = None
    base_url: Annotated[str, AfterValidator(_address)] | None = None
    api_key_env: Annotated[
        str | None,
        StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,99}$"),
        Field(description="The environment variable that holds the key. Keys never stand in this file."),
    ] = None
    api_version: Annotated[str | None, StringConstraints(pattern=r"^[0-9a-z-]{1,40}$")] = None
    parameters: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,48}$")], Any],
        Field(
            default_factory=dict,
            max_length=32,
            description="Sent with every request as they are: temperature, top_p, …",
        ),
    ]
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000, description="Of an answer.")] = None
    context_characters: Annotated[
        int | None, Field(ge=1_000, description="How much of a conversation is sent; the oldest is left out.")
    ] = None
    speakers: Annotated[
        Literal["name", "line"] | None,
        Field(description="How it is told who says what: by OpenAI's field `name`, or by a line before each message."),
    ] = None
    abilities: AbilitiesForm = AbilitiesForm()
    price: PriceForm = PriceForm()
    first_token_s: Annotated[Seconds | None, Field(description="Until the first token, all tries together.")] = None
    idle_s: Annotated[Seconds | None, Field(description="Between two tokens.")] = None
    retries: Annotated[int, Field(ge=0, le=10, description="Before the first token.")] = 3
    fallbacks: Annotated[
        tuple[ModelAlias, ...],
        Field(max_length=8, description="Whom to ask, in this order, when it gives no first token."),
    ] = ()

    @property
    def needs_local(self) -> bool:
        """Whether it is the model that comes with the hub, wherever that is."""
        return self.provider == "local" and self.base_url is None

    def hosted(self, provider: Provider, key: str, base: HostedModel | None) -> HostedModel:
        """The model as clients take it; `base` has what this form leaves open."""
        url = self.base_url or (base.base_url if base is not None else _DEFAULT_URLS.get(provider, ""))
        version = self.api_version or (AZURE_VERSION if provider == "azure" else "")
        of_openai = provider == "azure" or (provider == "openai" and url == OPENAI_URL)
        deadlines = None
        if self.first_token_s is not None or self.idle_s is not None:
            standard = ModelDeadlines()
            deadlines = ModelDeadlines(self.first_token_s or standard.first_s, self.idle_s or standard.idle_s)
        made = base or HostedModel(url, self.name or "", speakers="name" if of_openai else "line")
        return HostedModel(
            base_url=url,
            name=self.name or made.name,
            api_key=key,
            provider=provider,
            api_version=version,
            parameters={**made.parameters, **self.parameters},
            context_characters=self.context_characters or made.context_characters,
            max_tokens=self.max_tokens or made.max_tokens,
            sentence_after=made.sentence_after,
            speakers=self.speakers or made.speakers,
            calls_tools=self.abilities.tools and made.calls_tools,
            sees=self.abilities.vision,
            writes_json=self.abilities.json_,
            takes_grammar=made.takes_grammar,
            deadlines=deadlines,
            retries=self.retries,
            fallbacks=self.fallbacks,
            price=Price(self.price.input, self.price.output),
        )


class ModelsForm(Form):
    """The models that teams of this hub may use."""

    models: Annotated[dict[ModelAlias, ModelForm], Field(min_length=1, max_length=200)]


def complaints(form: ModelsForm, others: Collection[str]) -> Iterator[Complaint]:
    """What is wrong with a form beyond its shape. `others` are aliases that exist without it."""
    known = {*form.models, *others}
    for alias, model in form.models.items():
        path: Path = ("models", alias)
        if alias == RESERVED:
            yield path, f"{alias!r} is the alias of a model that is always there"
        yield from _of_provider(path, model)
        for number, fallback in enumerate(model.fallbacks):
            yield from unknown((*path, "fallbacks", number), "model", fallback, known)
            if fallback == alias or fallback in model.fallbacks[:number]:
                yield (*path, "fallbacks", number), f"{fallback!r} has been asked before"
        for name in sorted(_KEPT & model.parameters.keys()):
            yield (*path, "parameters", name), f"{name!r} is not a parameter: the hub sets it"


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {"$schema": SCHEMA_ID, **ModelsForm.model_json_schema()}


_DEFAULT_URLS = {"openai": OPENAI_URL, "anthropic": ANTHROPIC_URL, "ollama": OLLAMA_URL}


def _of_provider(path: Path, model: ModelForm) -> Iterator[Complaint]:
    provider = model.provider
    if provider in _MODELS_WITH_KEYS and model.name is None:
        yield path, f"a model of provider {provider} has a `name`"
    if provider == "azure" and model.base_url is None:
        yield path, "a model of provider azure has a `base_url`, that of the resource"
    if provider == "scripted":
        for key in model.model_fields_set - {"provider"}:
            yield (*path, key), "a scripted model has no other keys"
    if provider == "local" and model.api_key_env is not None:
        yield (*path, "api_key_env"), "a local model has no key; give a server of your own as provider openai"
    if provider not in ("azure", "anthropic") and model.api_version is not None:
        yield (*path, "api_version"), f"a model of provider {provider} has no api_version"
    if provider not in ("openai", "azure") and model.speakers == "name":
        yield (*path, "speakers"), "only OpenAI's interface has a field for names"
    if provider == "anthropic" and model.abilities.json_:
        yield (*path, "abilities", "json"), "Anthropic's interface has no demand for JSON"
    variable = model.api_key_env
    if variable is not None and variable.startswith("HUB_") and not variable.startswith("HUB_MODEL_"):
        yield (*path, "api_key_env"), f"{variable} is the hub's own: a key would go to the provider"
