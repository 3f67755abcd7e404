"""The scripted teams: they need no model, and are always there (docs/protocol.md, section 7)."""

from collections.abc import Sequence

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.script import MAX_TURNS

SCRIPTED_TOOLS = ("clock", "counter", "transfer", "ask_person")
SCRIPTED_TURN_S = 3600.0  # a paced script of many tokens is meant to take its time


def scripted_teams() -> Sequence[TeamSpec]:
    """`scripted`, `scripted-autogen` and `scripted-tools`."""
    alpha = AgentSpec("alpha", "Alpha", description="Says what the script says.", tools=SCRIPTED_TOOLS)
    beta = AgentSpec("beta", "Beta", description="Says what the script says.", tools=SCRIPTED_TOOLS)
    return (
        _scripted("scripted", "Says what it is told to; no framework, no model.", TeamKind.SCRIPTED, alpha, beta),
        _scripted("scripted-autogen", "The same on AutoGen, two agents in turn.", TeamKind.ROUND_ROBIN, alpha, beta),
        _scripted("scripted-tools", "The same on AutoGen, one agent with tools.", TeamKind.ROUND_ROBIN, alpha),
    )


def _scripted(name: str, description: str, kind: TeamKind, *agents: AgentSpec) -> TeamSpec:
    return TeamSpec(
        name=name,
        description=description,
        kind=kind,
        model="scripted",
        agents=agents,
        max_turns=MAX_TURNS,
        turn_timeout_s=SCRIPTED_TURN_S,
    )
