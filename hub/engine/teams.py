"""The teams that come with the hub."""

from collections.abc import Sequence

from hub.domain.team import AgentSpec, TeamKind, TeamSpec
from hub.engine.script import MAX_TURNS

SCRIPTED_TOOLS = ("clock", "counter", "transfer")
SCRIPTED_TURN_S = 3600.0  # a paced script of many tokens is meant to take its time


def built_in() -> Sequence[TeamSpec]:
    """Scripted teams, which need no model, and teams on the hub's default model."""
    alpha = AgentSpec("alpha", "Alpha", description="Says what the script says.", tools=SCRIPTED_TOOLS)
    beta = AgentSpec("beta", "Beta", description="Says what the script says.", tools=SCRIPTED_TOOLS)
    return (
        _scripted("scripted", "Says what it is told to; no framework, no model.", TeamKind.SCRIPTED, alpha, beta),
        _scripted("scripted-autogen", "The same on AutoGen, two agents in turn.", TeamKind.ROUND_ROBIN, alpha, beta),
        _scripted("scripted-tools", "The same on AutoGen, one agent with tools.", TeamKind.ROUND_ROBIN, alpha),
        _duo(),
        _startup(),
        _panel(),
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


def _duo() -> TeamSpec:
    return TeamSpec(
        name="duo",
        description="A writer answers, a critic improves on it.",
        kind=TeamKind.ROUND_ROBIN,
        model=None,
        agents=(
            AgentSpec(
                "writer",
                "Writer",
                instructions="Answer in a few clear sentences.",
                description="Writes the answer.",
            ),
            AgentSpec(
                "critic",
                "Critic",
                instructions="As an editor, say in one sentence what is good about this answer and what to improve.",
                description="Says what is good and what could be better.",
            ),
        ),
        max_turns=2,
    )


def _startup() -> TeamSpec:
    return TeamSpec(
        name="startup",
        description="Researcher, analyst, writer and validator work on an idea one after the other.",
        kind=TeamKind.ROUND_ROBIN,
        model=None,
        agents=(
            AgentSpec(
                "researcher",
                "Researcher",
                instructions="As a market researcher, say who needs this and what to find out first.",
                description="Collects what matters about an idea.",
            ),
            AgentSpec(
                "analyst",
                "Analyst",
                instructions="As a business analyst, name the main chance and the main risk of this idea.",
                description="Weighs chances and risks.",
            ),
            AgentSpec(
                "writer",
                "Writer",
                instructions="As a copywriter, write a short pitch for this idea.",
                description="Writes the pitch.",
            ),
            AgentSpec(
                "validator",
                "Validator",
                instructions="As a reviewer, say whether this pitch convinces and what to test first.",
                description="Checks the result.",
            ),
        ),
        max_turns=4,
    )


def _panel() -> TeamSpec:
    return TeamSpec(
        name="panel",
        description="Three points of view; the model picks who speaks next.",
        kind=TeamKind.SELECTOR,
        model=None,
        agents=(
            AgentSpec(
                "optimist",
                "Optimist",
                instructions="As an optimist, say what could go well.",
                description="Sees chances and what could go well.",
            ),
            AgentSpec(
                "sceptic",
                "Sceptic",
                instructions="As a sceptic, say what could go wrong.",
                description="Sees risks and what could go wrong.",
            ),
            AgentSpec(
                "planner",
                "Planner",
                instructions="As a planner, suggest the next step.",
                description="Says what to do next.",
            ),
        ),
        max_turns=3,
    )
