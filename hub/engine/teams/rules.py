"""What a team's form must keep to beyond its shape."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from hub.domain.team import ASKING, ORCHESTRATOR
from hub.engine.forms import Complaint, unknown
from hub.engine.teams.form import BOT_KEYS, MODEL_KEYS, SEAT_KEYS, AgentForm, InnerTeamForm, TeamForm
from hub.engine.teams.parts import MemoryForm
from hub.engine.yaml_source import Path

RESERVED_TEAMS = ("scripted", "scripted-autogen", "scripted-tools")
MAX_DEPTH = 3
TEAM_HAS_NOT = ("tools", "handoffs", "agents_as_tools", "memory")
RESERVED_AGENTS = ("user", "system", "assistant", "tool", "hub")


@dataclass(frozen=True, slots=True)
class Names:
    """What a team may name: the aliases of models and the names of tools and runnables in the operator's registries.

    `effects` are those of the tools of which a call may not be safe (`hub.engine.tools.tool.ToolKind`); `teams` are
    those that may name a tool, where not all may. `arguments` are those of each tool, where they are known.
    """

    models: Collection[str]
    tools: Collection[str]
    effects: Collection[str] = ()
    teams: Mapping[str, Collection[str]] = field(default_factory=dict)
    runnables: Collection[str] = ()
    arguments: Mapping[str, Collection[str]] = field(default_factory=dict)


_MEMORY_NEEDS = {"all": (), "last": ("last",), "ends": ("first", "last"), "tokens": ("tokens",), "summary": ("last",)}


AnyTeam = TeamForm | InnerTeamForm


@dataclass(slots=True)
class _Place:
    """Where in a file a team is: `depth` is 1 for the team itself. `taken` are the names of agents so far."""

    team: str
    path: Path = ()
    depth: int = 1
    taken: set[str] = field(default_factory=set)

    def within(self, path: Path) -> "_Place":
        """One level deeper."""
        return _Place(self.team, path, self.depth + 1, self.taken)


def complaints(form: TeamForm, names: Names) -> Iterator[Complaint]:
    """What is wrong with a form, and where."""
    if form.name in RESERVED_TEAMS:
        yield ("name",), f"{form.name!r} is the name of a team that is always there"
    if form.kind == "runnable":
        yield from _runnable((), form.runnable, names)
    elif form.runnable is not None:
        yield ("runnable",), "only a team or an agent of kind runnable has a runnable"
    yield from _approvals(form, names)
    yield from _team(form, replace(names, effects={*names.effects, *form.approvals}), _Place(form.name))


def _approvals(form: TeamForm, names: Names) -> Iterator[Complaint]:
    used = {tool for agent in form.agents for tool in agent.tools}
    for tool, wanted in form.approvals.items():
        if tool in names.tools and tool not in used:
            yield ("approvals", tool), f"no agent of the team has the tool {tool!r}"
        else:
            yield from unknown(("approvals", tool), "tool", tool, names.tools)
        for number, rule in enumerate(wanted.when or ()):
            known = names.arguments.get(tool)
            if known is not None:
                path = ("approvals", tool, "when", number, "argument")
                yield from unknown(path, "argument", rule.argument.split(".")[0], known)


def _team(form: AnyTeam, names: Names, place: _Place) -> Iterator[Complaint]:
    if form.model is not None:
        yield from unknown((*place.path, "model"), "model", form.model, names.models)
    yield from _of_kind(form, place.path)
    yield from _agents(form, names, place)
    if form.kind == "graph":
        yield from ((place.path + path, what) for path, what in _graph(form))


def _of_kind(form: AnyTeam, path: Path) -> Iterator[Complaint]:
    if form.kind == "selector" and len(form.agents) < 2:
        yield (*path, "agents"), "a team of kind selector has two agents or more"
    if form.selector_prompt is not None and form.kind != "selector":
        yield (*path, "selector_prompt"), "only a team of kind selector has a selector_prompt"
    if form.kind == "magentic" and form.limits.max_turns < 2:
        where = (*path, "limits", "max_turns")
        yield where, "a team of kind magentic has two turns or more: the last is the answer"
    if form.kind != "magentic" and "max_stalls" in form.limits.model_fields_set:
        yield (*path, "limits", "max_stalls"), "only a team of kind magentic has max_stalls"
    for key in ("edges", "start"):
        if getattr(form, key) and form.kind != "graph":
            yield (*path, key), f"only a team of kind graph has {key}"


def _agents(form: AnyTeam, names: Names, place: _Place) -> Iterator[Complaint]:
    everybody = [agent.name for agent in form.agents]
    for number, agent in enumerate(form.agents):
        path: Path = (*place.path, "agents", number)
        yield from _agent(form, path, agent, names, place)
        if agent.handoffs and form.kind != "swarm":
            yield (*path, "handoffs"), "only agents of a swarm have handoffs"
        for index, target in enumerate(agent.handoffs):
            others = [name for name in everybody if name != agent.name]
            yield from unknown((*path, "handoffs", index), "other agent", target, others)


def _agent(form: AnyTeam, path: Path, agent: AgentForm, names: Names, place: _Place) -> Iterator[Complaint]:
    if agent.name in place.taken:
        yield (*path, "name"), f"another agent has the name {agent.name!r}, too"
    if agent.name in RESERVED_AGENTS:
        yield (*path, "name"), f"{agent.name!r} is no name for an agent: models know it as something else"
    if agent.name == ORCHESTRATOR and form.kind == "magentic":
        yield (*path, "name"), f"{ORCHESTRATOR!r} is who leads a team of kind magentic"
    place.taken.add(agent.name)
    if agent.model is not None:
        yield from unknown((*path, "model"), "model", agent.model, names.models)
    if agent.memory is not None:
        yield from _memory((*path, "memory"), agent.memory)
    yield from _tools(form, path, agent, names, place)
    yield from _speaker(form, path, agent, names)
    if place.depth > 1:
        yield from _inner_agent(path, agent)
    yield from _nested(form, path, agent, names, place)


def _tools(form: AnyTeam, path: Path, agent: AgentForm, names: Names, place: _Place) -> Iterator[Complaint]:
    where = {
        "inside a team, or for an agent that others ask": place.depth > 1,
        "in a team of kind graph": form.kind == "graph",
        "for a runnable": "runnable" in (form.kind, agent.kind),
    }
    not_there = next((words for words, holds in where.items() if holds), None)
    for index, tool in enumerate(agent.tools):
        yield from unknown((*path, "tools", index), "tool", tool, names.tools)
        if tool in names.teams and place.team not in names.teams[tool]:
            yield (*path, "tools", index), f"{tool!r} is not for this team"
        if not_there is not None and tool in names.effects:
            yield (*path, "tools", index), f"{tool!r} has effects or asks people: not {not_there}"


def _nested(form: AnyTeam, path: Path, agent: AgentForm, names: Names, place: _Place) -> Iterator[Complaint]:
    """An agent that is a team, or asks others."""
    is_team = agent.kind in ("team", "society")
    if is_team and agent.team is None:
        yield path, f"an agent of kind {agent.kind} has a `team`"
    for key in ("team", "show"):
        if not is_team and key in agent.model_fields_set:
            yield (*path, key), f"only an agent of kind team or society has {key}"
    for key in TEAM_HAS_NOT:
        if is_team and getattr(agent, key):
            yield (*path, key), f"an agent of kind {agent.kind} has no {key}: its team's agents may"
    if agent.agents_as_tools and (agent.kind != "model" or form.kind == "runnable"):
        yield (*path, "agents_as_tools"), "only an agent of kind model asks others"
    if (agent.team is not None or agent.agents_as_tools) and place.depth >= MAX_DEPTH:
        key = "team" if agent.team is not None else "agents_as_tools"
        yield (*path, key), f"teams and agents are within each other {MAX_DEPTH} deep at most"
    elif agent.team is not None:
        yield from _inner_team((*path, "team"), agent.team)
        yield from _team(agent.team, names, place.within((*path, "team")))
    else:
        yield from _helpers(form, path, agent, names, place.within(path))


def _helpers(form: AnyTeam, path: Path, agent: AgentForm, names: Names, place: _Place) -> Iterator[Complaint]:
    for number, helper in enumerate(agent.agents_as_tools):
        at: Path = (*path, "agents_as_tools", number)
        yield from _agent(form, at, helper, names, place)
        if helper.kind != "model":
            yield (*at, "kind"), "an agent that others ask is of kind model"
        if helper.handoffs:
            yield (*at, "handoffs"), "an agent that others ask hands over to nobody"
        if f"{ASKING}{helper.name}" in names.tools:
            yield (*at, "name"), f"there is a tool {ASKING}{helper.name}, by which it would be asked"


def _inner_team(path: Path, form: InnerTeamForm) -> Iterator[Complaint]:
    if "turn_timeout_s" in form.limits.model_fields_set:
        yield (*path, "limits", "turn_timeout_s"), "the time is that of the outer team's turn"
    if "session" in form.budgets.model_fields_set:
        yield (*path, "budgets", "session"), "a team inside another has budgets of a `run` only"
    for key in ("turns", "seconds"):
        if key in form.budgets.run.model_fields_set:
            yield (*path, "budgets", "run", key), f"of {key} a team inside another has no budget"


def _inner_agent(path: Path, agent: AgentForm) -> Iterator[Complaint]:
    if agent.kind in ("bot", "human", "runnable"):
        yield (*path, "kind"), f"inside another's turn there is no agent of kind {agent.kind}"


def _runnable(path: Path, name: str | None, names: Names) -> Iterator[Complaint]:
    if name is None:
        yield path or ("kind",), "what is of kind runnable names its `runnable`"
    else:
        yield from unknown((*path, "runnable"), "runnable", name, names.runnables)


def _speaker(form: AnyTeam, path: Path, agent: AgentForm, names: Names) -> Iterator[Complaint]:
    """What only one kind of agent has."""
    for key in SEAT_KEYS:
        if agent.kind not in ("bot", "human") and key in agent.model_fields_set:
            yield (*path, key), f"only an agent of kind bot or human has {key}"
    for key in MODEL_KEYS:
        if (agent.kind not in ("model", "society") or form.kind == "runnable") and key in agent.model_fields_set:
            yield (*path, key), f"only an agent of kind model has {key}"
    if form.kind == "runnable" and agent.kind != "model":
        yield (*path, "kind"), "in a team of kind runnable the runnable speaks for all agents"
    elif agent.kind == "runnable":
        yield from _runnable(path, agent.runnable, names)
        if agent.handoffs:
            yield (*path, "handoffs"), "a runnable hands over to nobody"
    elif agent.runnable is not None:
        yield (*path, "runnable"), "only a team or an agent of kind runnable has a runnable"
    if agent.kind in ("bot", "human"):
        yield from _seat(form, path, agent)


def _seat(form: AnyTeam, path: Path, agent: AgentForm) -> Iterator[Complaint]:
    if agent.tools:
        yield (*path, "tools"), "only an agent of kind model has tools of the hub's"
    if agent.kind == "human":
        yield from _person(form, path, agent)
    if agent.kind == "bot" and agent.timeout_s is not None and agent.timeout_s >= form.limits.turn_timeout_s:
        yield (*path, "timeout_s"), "a bot has less time than the whole turn (limits.turn_timeout_s)"
    if agent.substitute is not None:
        models = [other.name for other in form.agents if other.kind == "model"]
        yield from unknown((*path, "substitute"), "agent of kind model", agent.substitute, models)


def _person(form: AnyTeam, path: Path, agent: AgentForm) -> Iterator[Complaint]:
    if form.kind == "graph":
        yield (*path, "kind"), "a graph cannot wait for a person in one branch and go on in another"
    if agent.handoffs:
        yield (*path, "handoffs"), "a person hands over to nobody: the next speaker is found without"
    for key in BOT_KEYS:
        if key in agent.model_fields_set:
            yield (*path, key), f"only an agent of kind bot has {key}"


def _memory(path: Path, memory: MemoryForm) -> Iterator[Complaint]:
    needed = _MEMORY_NEEDS[memory.keep]
    for key in ("first", "last", "tokens"):
        given = getattr(memory, key) is not None
        if key in needed and not given:
            yield path, f"to keep {memory.keep}, say `{key}`"
        if given and key not in needed:
            yield (*path, key), f"{key!r} means nothing where {memory.keep} is kept"


def _graph(form: AnyTeam) -> Iterator[Complaint]:
    everybody = [agent.name for agent in form.agents]
    if form.start is not None:
        yield from unknown(("start",), "agent", form.start, everybody)
    conditional: dict[str, bool] = {}
    waits: dict[tuple[str, str], str] = {}
    for number, edge in enumerate(form.edges):
        path: Path = ("edges", number)
        yield from unknown((*path, "from"), "agent", edge.source, everybody)
        yield from unknown((*path, "to"), "agent", edge.target, everybody)
        if conditional.setdefault(edge.source, edge.when is not None) != (edge.when is not None):
            yield path, f"edges from {edge.source!r} have a `when` all of them, or none"
        if waits.setdefault((edge.target, edge.group), edge.wait_for) != edge.wait_for:
            yield path, f"edges to {edge.target!r} in one group wait for all of them, or for any"
    targets = {edge.target for edge in form.edges}
    if form.start is None and targets.issuperset(everybody):
        yield ("edges",), "an edge leads to every agent: name one as `start`"
    if {edge.source for edge in form.edges}.issuperset(everybody):
        yield ("edges",), "the graph has no end: every agent has an edge to another"
    if (circle := _endless(form)) is not None:
        yield ("edges",), f"a circle without a `when` never ends: {' -> '.join(circle)}"


def _endless(form: AnyTeam) -> list[str] | None:
    """A circle of edges without conditions, if there is one."""
    following: dict[str, list[str]] = {}
    for edge in form.edges:
        if edge.when is None:
            following.setdefault(edge.source, []).append(edge.target)
    done: set[str] = set()
    for first in following:
        path, ahead = [first], [iter(following[first])]
        while ahead:
            step = next(ahead[-1], None)
            if step is None:
                done.add(path.pop())
                ahead.pop()
            elif step in path:
                return [*path[path.index(step) :], step]
            elif step not in done:
                path.append(step)
                ahead.append(iter(following.get(step, ())))
    return None
