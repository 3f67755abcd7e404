"""The models of a hub: those of the operator's file, and those that settings alone make."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from hub.engine.forms import Complaint, complained, file_bytes, read_form
from hub.engine.models.form import RESERVED, ModelForm, ModelsForm, complaints
from hub.engine.models.registry import Model, Models, ScriptedModel, local_model

NOWHERE = "http://127.0.0.1:9/v1"
"""Where no model is: of a command, or of a gateway, which runs no agents."""

Variable = Callable[[str], str | None]
"""Gives an environment variable."""


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """A file of models that has been read; `entries` are by alias."""

    entries: Mapping[str, ModelForm]

    @property
    def needs_local(self) -> bool:
        """Whether one of them is the model that comes with the hub."""
        return any(entry.needs_local for entry in self.entries.values())


def read_models(path: FilePath | None, others: Mapping[str, Model], variable: Variable | None = None) -> ModelsFile:
    """The file at `path`; nothing when there is none. `others` are models that exist without it.

    With `variable`, every key that the file names must be in the environment. Raises FileError.
    """
    if path is None:
        return ModelsFile({})
    return parse_models(file_bytes(path), str(path), others, variable)


def parse_models(text: bytes, file: str, others: Mapping[str, Model], variable: Variable | None = None) -> ModelsFile:
    """The models in a text, as `read_models` takes them."""
    form, document = read_form(text, file, ModelsForm)
    complained(complaints(form, [RESERVED, *others]), document, file)
    if variable is not None:
        complained(_missing(form, variable), document, file)
    return ModelsFile(form.models)


def configured(
    file: ModelsFile,
    others: Mapping[str, Model],
    *,
    default: str,
    local_url: str | None,
    variable: Variable,
) -> Models:
    """All models of a hub. An entry of the file stands for one of `others` with its alias.

    ValueError when the default one is not among them.
    """
    models: dict[str, Model] = {RESERVED: ScriptedModel(), **others}
    for alias, entry in file.entries.items():
        models[alias] = _model(entry, local_url or NOWHERE, variable)
    return Models(models, default=default)


def _model(entry: ModelForm, local_url: str, variable: Variable) -> Model:
    key = variable(entry.api_key_env) or "" if entry.api_key_env is not None else ""
    match entry.provider:
        case "scripted":
            return ScriptedModel()
        case "local":
            return entry.hosted("openai", "", local_model(entry.base_url or local_url))
        case "openai" | "azure" | "anthropic" | "ollama":
            return entry.hosted(entry.provider, key, None)


def _missing(form: ModelsForm, variable: Variable) -> Iterator[Complaint]:
    for alias, entry in form.models.items():
        if entry.api_key_env is not None and not variable(entry.api_key_env):
            path = ("models", alias, "api_key_env")
            yield path, f"there is no environment variable {entry.api_key_env}, or it is empty"
