"""`hub model` and `hub doctor` about models: what is configured, and which aliases answer."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.fake_openai import FakeOpenAi, serving
from tests.engine.fake_providers import FakeAnthropic
from tests.process.conftest import Command
from tests.process.serving import SECRET

CANARY = "sk-canary-456"


@pytest.fixture
def fakes() -> Iterator[dict[str, str]]:
    """The addresses of servers that speak as OpenAI and as Anthropic do, in a thread of their own."""
    fakes = {"openai": FakeOpenAi(), "anthropic": FakeAnthropic()}
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with serving(fakes["openai"]), serving(fakes["anthropic"]):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    assert ready.wait(30)
    yield {name: fake.url for name, fake in fakes.items()}
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture
def models(fakes: dict[str, str], tmp_path: Path) -> Path:
    file = tmp_path / "models.yaml"
    file.write_text(
        f"""models:
  fast:
    {{provider: openai, name: good, base_url: {fakes["openai"]}, price: {{input: 1, output: 2}}, fallbacks: [claude]}}
  claude: {{provider: anthropic, name: good, base_url: {fakes["anthropic"]}, api_key_env: CLAUDE_KEY}}
  unpaid: {{provider: anthropic, name: unpaid, base_url: {fakes["anthropic"]}, api_key_env: CLAUDE_KEY}}
  mute: {{provider: openai, name: silent, base_url: {fakes["openai"]}}}
"""
    )
    return file


def test_models_are_listed_and_asked(command: Command, models: Path) -> None:
    own = {"HUB_MODELS_FILE": str(models), "HUB_DEFAULT_MODEL": "fast", "CLAUDE_KEY": CANARY}
    rows = {row["alias"]: row for row in map(json.loads, command("model", "list", "--json", **own).stdout.splitlines())}
    assert set(rows) == {"scripted", "fast", "claude", "unpaid", "mute"}
    assert (rows["fast"]["default"], rows["fast"]["fallbacks"]) == (True, ["claude"])
    assert (rows["fast"]["key"], rows["claude"]["key"]) == (False, True)
    assert rows["fast"]["price"] == {"input": 1.0, "output": 2.0}
    listed = command("model", "list", **own).stdout
    assert "* fast" in listed
    assert "else claude" in listed

    good = command("model", "check", "fast", "claude", "scripted", **own)
    assert good.returncode == 0, good.stdout
    assert good.stdout.count("ok ") == 3
    checked = command("model", "check", "--timeout", "0.3", "--json", **own)
    answers = {row["alias"]: row for row in map(json.loads, checked.stdout.splitlines())}
    assert (checked.returncode, len(answers)) == (1, 5)
    # Who answers in a third of a second depends on the machine; who does not, not.
    assert {"mute", "unpaid"} <= {alias for alias, row in answers.items() if not row["answers"]}
    assert "model_stalled" in answers["mute"]["error"]
    refused = command("model", "check", "unpaid", "--json", **own).stdout
    assert "HTTP 401" in json.loads(refused)["error"]
    assert CANARY not in checked.stdout + checked.stderr + listed + refused
    assert command("model", "check", "nobody", **own).returncode == 1
    assert json.loads(command("model", "schema").stdout)["title"] == "ModelsForm"


def test_doctor_says_which_aliases_answer(
    command: Command, models: Path, dsn: str, redis_url: str, data_dir: Path
) -> None:
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    models.write_text("\n".join(line for line in models.read_text().splitlines() if "mute" not in line))
    own = {"HUB_MODELS_FILE": str(models), "HUB_DEFAULT_MODEL": "fast", "CLAUDE_KEY": CANARY}
    sick = command("doctor", data_dir=data_dir, **outside, **own)
    assert sick.returncode == 1
    assert "ok    model        fast answers" in sick.stdout
    assert "ok    model        claude answers" in sick.stdout
    assert "FAIL  model        unpaid does not answer: model_unavailable (HTTP 401)" in sick.stdout
    assert CANARY not in sick.stdout
    broken = command("doctor", data_dir=data_dir, **outside, **own | {"CLAUDE_KEY": ""})
    assert "models.yaml:4:" in broken.stdout
    assert "there is no environment variable CLAUDE_KEY" in broken.stdout


def test_a_hub_does_not_start_without_the_keys_its_models_need(
    command: Command, models: Path, dsn: str, redis_url: str, data_dir: Path
) -> None:
    outside = {"HUB_DATABASE_URL": dsn, "HUB_REDIS_URL": redis_url, "HUB_SECRET_KEYS": SECRET}
    own = {"HUB_MODELS_FILE": str(models), "HUB_DEFAULT_MODEL": "fast"}
    refused = command("serve", "--port", "0", data_dir=data_dir, **outside, **own)
    assert refused.returncode == 2
    problem = r"models.yaml:4:\d+: models.claude.api_key_env: there is no environment variable CLAUDE_KEY"
    assert re.search(problem, refused.stderr)
    for words in (["team", "validate", str(models)], ["team", "list"], ["model", "list"]):  # need no keys
        assert "CLAUDE_KEY" not in command(*words, **own).stderr
    models.write_text("models: {fast: {provider: openai}}")
    for words in (["serve", "--port", "0"], ["team", "list"], ["model", "list"]):
        refused = command(*words, **outside, **own)
        assert refused.returncode == 2
        assert "HUB_MODELS_FILE" in refused.stderr
        assert "models.yaml:1:10: models.fast: a model of provider openai has a `name`" in refused.stderr
