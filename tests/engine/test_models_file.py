"""The operator's file of models: what it gives, and what is said of one that is wrong."""

import json
from pathlib import Path

import jsonschema
import pytest

from hub.engine import yaml_source
from hub.engine.forms import FileError
from hub.engine.models.configured import ModelsFile, configured, parse_models, read_models
from hub.engine.models.form import schema
from hub.engine.models.registry import OPENAI_URL, HostedModel, ModelDeadlines, Models, Price, ScriptedModel

GOOD = """
models:
  fast:
    provider: openai
    name: gpt-4o-mini
    api_key_env: OPENAI_API_KEY
    price: {input: 0.15, output: 0.6}
    fallbacks: [claude, house]
  claude:
    provider: anthropic
    name: claude-sonnet-4-5
    api_key_env: ANTHROPIC_API_KEY
    max_tokens: 2048
    parameters: {temperature: 0.5}
    abilities: {vision: true}
    first_token_s: 20
    retries: 1
  firm:
    provider: azure
    name: our-deployment
    base_url: https://firm.example/
    api_key_env: AZURE_KEY
    abilities: {json: true, tools: false}
  llama:
    provider: ollama
    name: llama3.2:3b
    context_characters: 24000
    parameters: {num_ctx: 8192}
  house:
    provider: local
  groq:
    provider: openai
    name: openai/gpt-oss-20b
    base_url: http://127.0.0.1:4000/v1
"""
OPENAI = "models:\n  a:\n    provider: openai\n    name: x\n    "
OLLAMA = OPENAI.replace("openai", "ollama")
KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "AZURE_KEY": "sk-3"}


def models(text: str = GOOD, local_url: str | None = "http://127.0.0.1:8/v1") -> Models:
    file = parse_models(text.encode(), "models.yaml", {})
    return configured(file, {}, default="fast", local_url=local_url, variable=KEYS.get)


def problems(text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        parse_models(text.encode(), "models.yaml", {}, KEYS.get)
    return str(caught.value).split("\n")


def hosted(alias: str) -> HostedModel:
    model = models().get(alias)
    assert isinstance(model, HostedModel)
    return model


def test_a_good_file() -> None:
    assert set(models().aliases()) == {"scripted", "fast", "claude", "firm", "llama", "house", "groq"}
    fast, claude, firm, llama = (hosted(alias) for alias in ("fast", "claude", "firm", "llama"))
    assert (fast.base_url, fast.name, fast.api_key, fast.speakers) == (OPENAI_URL, "gpt-4o-mini", "sk-1", "name")
    assert fast.price == Price(0.15, 0.6)
    assert (claude.provider, claude.base_url, claude.sees) == ("anthropic", "https://api.anthropic.com", True)
    assert (claude.max_tokens, claude.retries, claude.parameters) == (2048, 1, {"temperature": 0.5})
    assert claude.deadlines == ModelDeadlines(20, 30)
    assert (firm.base_url, firm.api_version, firm.speakers) == ("https://firm.example", "2024-10-21", "name")
    assert (firm.calls_tools, firm.writes_json) == (False, True)
    assert (llama.base_url, llama.api_key, llama.deadlines) == ("http://127.0.0.1:11434", "", None)
    assert llama.context_characters == 24_000
    assert hosted("groq").speakers == "line"
    assert [alias for alias, _ in models().chain(None)] == ["fast", "claude", "house"]
    assert isinstance(models().get("scripted"), ScriptedModel)
    assert "sk-1" not in repr(models()._models)


def test_the_model_that_comes_with_the_hub_is_where_the_hub_started_it() -> None:
    house = hosted("house")
    assert (house.base_url, house.name, house.takes_grammar) == ("http://127.0.0.1:8/v1", "smollm2", True)
    assert parse_models(GOOD.encode(), "f", {}).needs_local
    elsewhere = "models:\n  x: {provider: local, base_url: 'http://127.0.0.1:5/v1', max_tokens: 7}\n"
    file = parse_models(elsewhere.encode(), "f", {})
    assert not file.needs_local
    made = configured(file, {}, default="x", local_url=None, variable=KEYS.get).get("x")
    assert isinstance(made, HostedModel)
    assert (made.base_url, made.max_tokens, made.speakers) == ("http://127.0.0.1:5/v1", 7, "directed")


def test_no_file_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_models(None, {}) == ModelsFile({})
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_models(tmp_path / "none.yaml", {})
    with pytest.raises(ValueError, match="no model has the alias 'x'"):
        configured(ModelsFile({}), {}, default="x", local_url=None, variable=KEYS.get)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("models: {}", 1, "at least 1"),
        ("models:\n  a:\n    provider: openia\n    name: x", 3, "Input should be 'openai'"),
        ("models:\n  a:\n    provider: openai", 2, "a model of provider openai has a `name`"),
        (OPENAI + "api_key: sk-1", 5, "no such key; do you mean 'api_key_env'?"),
        (OPENAI + "api_key_env: sk-1", 5, "String should match"),
        (OPENAI + "api_key_env: NOT_SET", 5, "no environment variable NOT_SET"),
        (OPENAI + "api_key_env: HUB_SECRET_KEYS", 5, "the hub's own"),
        ("models:\n  a:\n    provider: azure\n    name: x", 2, "has a `base_url`"),
        (OPENAI + "base_url: file:///etc/passwd", 5, "an address is written"),
        (OPENAI + "base_url: http://u:p@h/v1", 5, "an address is written"),
        (OPENAI + "fallbacks: [b]\n  bb: {provider: scripted}", 5, "do you mean 'bb'"),
        (OPENAI + "fallbacks: [a]", 5, "has been asked before"),
        (OPENAI + "parameters:\n      stream: false", 6, "the hub sets it"),
        ("models:\n  scripted:\n    provider: scripted", 2, "always there"),
        ("models:\n  a:\n    provider: scripted\n    name: x", 4, "no other keys"),
        ("models:\n  a:\n    provider: local\n    api_key_env: AZURE_KEY", 4, "a local model has no key"),
        ("models:\n  a:\n    provider: anthropic\n    name: x\n    abilities: {json: true}", 5, "no demand for JSON"),
        (OLLAMA + "speakers: name", 5, "field for names"),
        (OLLAMA + "api_version: '1'", 5, "has no api_version"),
        (OLLAMA + "price: {input: -1}", 5, "greater than or equal to 0"),
        (OLLAMA + "retries: 99", 5, "less than or equal to 10"),
        ("models:\n  A b:\n    provider: scripted", 2, "String should match"),
        ("models:\n  a: !!python/object:os.system {}", 2, "tags"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"models.yaml:{line}:"), problem
    assert words in problem


def test_all_problems_at_once_and_no_key_repeated() -> None:
    found = problems("models:\n  a: {provider: openai, name: x, api_key: sk-canary}\n  b: {provider: x}\n")
    assert [problem.split(":")[1] for problem in found] == ["2", "3"]
    assert "sk-canary" not in "\n".join(found)


def test_the_schema_fits(tmp_path: Path) -> None:
    checker = jsonschema.Draft202012Validator(schema())
    checker.validate(yaml_source.read(GOOD.encode()).value)
    assert not checker.is_valid(yaml_source.read(GOOD.replace("name:", "nmae:").encode()).value)
    assert json.dumps(schema())


def test_prices_are_rounded_up() -> None:
    assert Price(3.0, 15.0).micros(1_000_000, 1_000) == 3_015_000
    assert Price(0.05, 0.0).micros(1, 0) == 1
    assert Price(0.15, 0.6).micros(20, 5) == 6
    assert Price().micros(10**9, 10**9) == 0
