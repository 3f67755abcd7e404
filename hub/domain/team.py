"""Teams: which agents talk, on which model, in which order. Data only; nothing here names code."""

from dataclasses import dataclass
from enum import StrEnum


class TeamKind(StrEnum):
    SCRIPTED = "scripted"
    ROUND_ROBIN = "round_robin"
    SELECTOR = "selector"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent of a team. `name` is an identifier (it goes to model providers); people see `display_name`."""

    name: str
    display_name: str
    instructions: str = ""
    description: str = ""
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TeamSpec:
    """A team by name. `model` is an alias of the model registry, or None for the hub's default model.

    `max_turns` bounds a run; `turn_timeout_s` bounds one turn in seconds of wall time.
    `stop_phrase` ends the run when an agent's message contains it.
    """

    name: str
    description: str
    kind: TeamKind
    model: str | None
    agents: tuple[AgentSpec, ...]
    max_turns: int = 8
    turn_timeout_s: float = 300.0
    stop_phrase: str | None = None
    selector_prompt: str | None = None
