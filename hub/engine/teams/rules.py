"""What a team's form must keep to beyond its shape."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from hub.engine.teams.form import TeamForm
from hub.engine.teams.yaml_source import Path

RESERVED_TEAMS = ("scripted", "scripted-autogen", "scripted-tools")
RESERVED_AGENTS = ("user", "system", "assistant", "tool", "hub")

Complaint = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class Names:
    """What a team may name: the aliases of models and the names of tools in the operator's registries."""

    models: Collection[str]
    tools: Collection[str]


def complaints(form: TeamForm, names: Names) -> Iterator[Complaint]:
    """What is wrong with a form, and where."""
    if form.name in RESERVED_TEAMS:
        yield ("name",), f"{form.name!r} is the name of a team that is always there"
    if form.model is not None:
        yield from unknown(("model",), "model", form.model, names.models)
    if form.selector_prompt is not None and form.kind != "selector":
        yield ("selector_prompt",), "only a team of kind selector has a selector_prompt"
    if form.kind == "selector" and len(form.agents) < 2:
        yield ("agents",), "a team of kind selector has two agents or more"
    taken: set[str] = set()
    for number, agent in enumerate(form.agents):
        path: Path = ("agents", number)
        if agent.name in taken:
            yield (*path, "name"), f"another agent has the name {agent.name!r}, too"
        if agent.name in RESERVED_AGENTS:
            yield (*path, "name"), f"{agent.name!r} is no name for an agent: models know it as something else"
        taken.add(agent.name)
        for index, tool in enumerate(agent.tools):
            yield from unknown((*path, "tools", index), "tool", tool, names.tools)


def unknown(path: Path, what: str, name: str, known: Collection[str]) -> Iterator[Complaint]:
    """A complaint, if the name is not known, with the nearest one that is."""
    if name not in known:
        yield path, f"there is no {what} {name!r}{nearest(name, known)}"


def nearest(name: str, known: Collection[str]) -> str:
    """`; do you mean 'x'?`, or what there is, as the end of a sentence."""
    close = get_close_matches(name, list(known), n=1)
    if close:
        return f"; do you mean {close[0]!r}?"
    return f"; there are: {', '.join(sorted(known))}" if known else "; there are none"
