"""A team of every kind, for what has to hold for all of them."""

from hub.domain.team import TeamSpec
from hub.engine.teams.files import parse
from hub.engine.teams.rules import Names

NAMES = Names(models=["scripted", "agents", "lead"], tools=["clock"])

_TWO = "[{name: alpha, tools: [clock]}, {name: beta, tools: [clock]}]"
_FOUR = f"[{', '.join(f'{{name: {name}, tools: [clock]}}' for name in ('alpha', 'beta', 'gamma', 'delta'))}]"
_OTHERS = _TWO.replace("alpha", "first").replace("beta", "second")
_DUO = f"{{kind: round_robin, agents: {_OTHERS}, limits: {{max_turns: 2}}}}"

SHAPES = {
    "round_robin": f"kind: round_robin\nagents: {_TWO}",
    "selector": f"kind: selector\nagents: {_TWO}",
    "swarm": "kind: swarm\nagents: "
    "[{name: alpha, tools: [clock], handoffs: [beta]}, {name: beta, tools: [clock], handoffs: [alpha]}]",
    "graph": f"kind: graph\nagents: {_FOUR}\n"
    "edges: [{from: alpha, to: beta}, {from: alpha, to: gamma}, {from: beta, to: delta}, {from: gamma, to: delta}]",
    "magentic": f"kind: magentic\nagents: {_TWO}",
    "nested": f"kind: round_robin\nagents: [{{name: desk, kind: team, team: {_DUO}}}, {{name: alpha, tools: [clock]}}]",
    "society": "kind: round_robin\nagents: "
    f"[{{name: desk, kind: society, show: false, team: {_DUO}}}, {{name: alpha, tools: [clock]}}]",
}


def source(kind: str, model: str | None = None, agents: str | None = None) -> str:
    """The file of the team of that kind; its name is the kind's, with `kind_` before it. Its agents are on the model
    `agents`, and what leads them, or answers for them, on `model`."""
    shape = SHAPES[kind]
    if agents is not None:
        shape = shape.replace(", tools: [clock]", f", tools: [clock], model: {agents}")
    named = f"name: kind_{kind}\ndescription: Of kind {kind}.\n{shape}\nlimits: {{max_turns: 4}}\n"
    return named if model is None else f"{named}model: {model}\n"


def team(kind: str, model: str | None = None, agents: str | None = None) -> TeamSpec:
    """The team of that kind."""
    return parse(source(kind, model, agents).encode(), kind, NAMES)
