"""The samples of the documentation, as they are written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.engine.mcp.form import parse_servers
from hub.engine.models.configured import parse_models
from hub.engine.models.registry import ScriptedModel
from hub.engine.teams.files import parse
from hub.engine.teams.rules import Names

DOCS = Path(__file__).parents[2] / "docs"
PLACES = ("facts", "opinions", "editor", "checker", "reporter", "oncall")
NAMES = Names(
    models=("openai", "claude"),
    tools=("clock", "calculator", "counter", "search_transcript"),
    effects=("counter",),
    runnables=("research",),
    arguments={"counter": ("key",), "clock": ()},
)


def samples() -> Iterator[tuple[str, str]]:
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        for found in re.finditer(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1]


@pytest.mark.parametrize(("place", "sample"), list(samples()))
def test_a_sample_is_read_as_it_is_written(place: str, sample: str) -> None:
    """Raises FileError where it is not. Parts of a team are put into one."""
    others = ", ".join(f"{{name: {name}}}" for name in PLACES)
    head = "name: t\ndescription: d\nkind: "
    match re.sub(r"^ *#.*\n", "", sample).split(":")[0].strip():
        case "models":
            parse_models(sample.encode(), place, {"local": ScriptedModel()})
        case "servers":
            parse_servers(sample.encode(), place)
        case "name":
            parse(sample.encode(), place, NAMES)
        case "edges":
            whole = f"{head}graph\nagents: [{others}]\n{sample}  - {{from: editor, to: checker}}\n"
            parse(whole.encode(), place, NAMES)
        case "agents":
            parse(f"{head}round_robin\n{sample}".encode(), place, NAMES)
        case "- name":
            parse(f"{head}round_robin\nagents:\n  - name: oncall\n{sample}".encode(), place, NAMES)
        case other:
            pytest.fail(f"{place}: what is {other!r}?")


def test_there_are_samples() -> None:
    assert {place.split(":")[0] for place, _ in samples()} >= {"teams.md", "models.md", "tools.md", "frameworks.md"}
