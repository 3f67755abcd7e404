"""Teams: which agents talk, on which model, in which order. Data only; nothing here names code."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from hub.domain.budget import Limit
from hub.domain.ids import OrganisationId

TAKE_TURN = "take_turn"
"""The call by which a turn of a person is asked for: a question whose answer is what they say."""

ORCHESTRATOR = "orchestrator"
"""Who leads a magentic team, and is none of its agents."""

ASKING = "ask_"
"""What the names of tools begin with by which an agent asks another."""

MAX_STALLS = 3
ACCEPT_S = 10.0
SILENCE_S = 60.0


class TeamKind(StrEnum):
    SCRIPTED = "scripted"
    ROUND_ROBIN = "round_robin"
    SELECTOR = "selector"
    SWARM = "swarm"
    GRAPH = "graph"
    MAGENTIC = "magentic"
    RUNNABLE = "runnable"


class Keep(StrEnum):
    """What an agent keeps of a conversation."""

    ALL = "all"
    LAST = "last"
    ENDS = "ends"
    TOKENS = "tokens"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Memory:
    """What an agent keeps of a conversation, beyond its instructions: all, the `last` messages, the `first` and the
    `last`, the newest of so many `tokens`, or the `last` and a summary of what was before."""

    keep: Keep = Keep.ALL
    first: int = 0
    last: int = 0
    tokens: int = 0


class SeatKind(StrEnum):
    BOT = "bot"
    HUMAN = "human"


class Speaker(StrEnum):
    """What speaks as an agent: a model, a program over the wire, a person, a runnable of the operator's, or a team."""

    MODEL = "model"
    BOT = "bot"
    HUMAN = "human"
    RUNNABLE = "runnable"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in a team that is taken by a program over the wire, or by a person, and not by a model. Times are in
    seconds.

    `user` names the only user who may take it (a bot's in every session of the team); without it any editor of a
    session may, there. A turn of a bot must be begun `accept_s` after it was offered; between two signs of life there
    are `silence_s` at most. `timeout_s` is for all of a turn; None is what the hub gives. `substitute` is the agent of
    the team that speaks instead when nobody does.
    """

    kind: SeatKind = SeatKind.BOT
    user: str | None = None
    accept_s: float = ACCEPT_S
    silence_s: float = SILENCE_S
    timeout_s: float | None = None
    substitute: str | None = None


@dataclass(frozen=True, slots=True)
class Nested:
    """A team that speaks as one agent of another. All its turns are within one turn of that agent.

    Of what its agents say others see everything if it `is_shown`; the other agents of the outer team are told its last
    words only, or where it `answers`, what the agent's model makes of it all.
    """

    team: "TeamSpec"
    is_shown: bool = True
    answers: bool = False


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent of a team. `name` is an identifier (it goes to model providers); people see `display_name`.

    In a swarm, `handoffs` are the agents that it may hand the conversation to. `model` is an alias of the model
    registry, or None for the team's; `temperature` and `max_tokens` stand for those of the model, where they are given.
    With a `seat`, a `runnable` or a `nested` team it is no model that speaks: a program over the wire, a runnable of
    the operator's, or a team. `helpers` are agents that it may ask as it calls tools, and that have no turns.
    """

    name: str
    display_name: str
    instructions: str = ""
    description: str = ""
    tools: tuple[str, ...] = ()
    handoffs: tuple[str, ...] = ()
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    seat: Seat | None = None
    memory: Memory = Memory()
    runnable: str | None = None
    nested: Nested | None = None
    helpers: tuple["AgentSpec", ...] = ()

    def within(self) -> Iterator["AgentSpec"]:
        """The agents inside this one, however deep: of its team, and its helpers."""
        for agent in (*self.helpers, *(self.nested.team.agents if self.nested is not None else ())):
            yield agent
            yield from agent.within()


@dataclass(frozen=True, slots=True)
class Edge:
    """In a graph `target` speaks after `source`; with `when`, only if what `source` said holds these words.

    Edges to one target belong to a `group`: it waits for all of the group, or with `any_of_group` for one.
    """

    source: str
    target: str
    when: str | None = None
    group: str = ""
    any_of_group: bool = False


@dataclass(frozen=True, slots=True)
class ArgumentRule:
    """That an argument of a call (`to.country` inside an object) compares so with a value."""

    argument: str
    comparison: str
    value: object


@dataclass(frozen=True, slots=True)
class Approval:
    """What a team wants approved beyond what the tool wants: calls of `tool` for which any of the rules in `when`
    holds, all without one. It takes `approvers` people, `by_others` than who has asked for the run."""

    tool: str
    when: tuple[ArgumentRule, ...] = ()
    approvers: int = 1
    by_others: bool = False


@dataclass(frozen=True, slots=True)
class TeamSpec:
    """A team by name. `model` is an alias of the model registry, or None for the hub's default model.

    `max_turns` bounds a run, and `max_messages` what its agents say in it; `turn_timeout_s` bounds one turn in seconds
    of wall time. `stop_phrase` ends the run when an agent's message contains it. `edges` and `start` are those of a
    graph; without `start` it begins with the agents that no edge leads to. `budgets` are those of a run and of a
    session. `runnable` is what speaks in a team of that kind. A magentic team makes a new plan after `max_stalls` steps
    without progress. `approvals` are calls for which people are asked, whatever the tools say.
    """

    name: str
    description: str
    kind: TeamKind
    model: str | None
    agents: tuple[AgentSpec, ...]
    max_turns: int = 8
    max_messages: int | None = None
    turn_timeout_s: float = 300.0
    stop_phrase: str | None = None
    selector_prompt: str | None = None
    edges: tuple[Edge, ...] = ()
    start: str | None = None
    budgets: tuple[Limit, ...] = ()
    runnable: str | None = None
    max_stalls: int = MAX_STALLS
    approvals: tuple[Approval, ...] = ()

    def agent(self, name: str) -> AgentSpec | None:
        """The agent of that name."""
        return next((agent for agent in self.agents if agent.name == name), None)

    def everybody(self) -> Iterator[AgentSpec]:
        """All agents, those within others included."""
        for agent in self.agents:
            yield agent
            yield from agent.within()

    def speaker(self, agent: AgentSpec) -> Speaker:
        """What speaks as this agent of the team."""
        if self.kind is TeamKind.RUNNABLE or agent.runnable is not None:
            return Speaker.RUNNABLE
        if agent.nested is not None:
            return Speaker.TEAM
        return Speaker(agent.seat.kind.value) if agent.seat is not None else Speaker.MODEL


@dataclass(frozen=True, slots=True)
class ImportedTeam:
    """A team of the database, as its newest version has it. It is for the sessions of its `organisation`, or for all.
    No session is opened with one that is `archived`; those that have it go on."""

    spec: TeamSpec
    version: int
    organisation: OrganisationId | None = None
    archived: bool = False
