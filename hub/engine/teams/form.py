"""The form of a team's file (`hub team schema` prints its JSON Schema)."""

from dataclasses import replace
from typing import Annotated, Any, Literal, assert_never

from pydantic import Field

from hub.domain.team import (
    ACCEPT_S,
    SILENCE_S,
    TAKE_TURN,
    AgentSpec,
    Memory,
    Nested,
    Seat,
    SeatKind,
    TeamKind,
    TeamSpec,
)
from hub.engine.forms import Form
from hub.engine.teams.parts import (
    AgentName,
    Alias,
    ApprovalForm,
    BudgetsForm,
    Edges,
    LimitsForm,
    Line,
    MemoryForm,
    Prompt,
    Prose,
    Start,
    TeamName,
    ToolName,
)

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"

SEAT_SHARE = 0.8  # of a turn's time, for a bot: then there is time left for who speaks in its place
MODEL_KEYS = ("model", "temperature", "max_tokens")
SEAT_KEYS = ("user", "accept_s", "silence_s", "timeout_s", "substitute")
BOT_KEYS = ("accept_s", "silence_s")
LONGEST_S = 30 * 86_400.0  # that a person may be waited for


class AgentForm(Form):
    """One agent: who it is, what it is to do, and what it may use."""

    name: AgentName
    display_name: Annotated[Line | None, Field(description="What people see; else made from the name.")] = None
    role: Annotated[Line | None, Field(description="Who the agent is: `You are <role>.`")] = None
    goal: Annotated[Prose | None, Field(description="What the agent is to achieve.")] = None
    instructions: Annotated[Prose | None, Field(description="How it is to go about it.")] = None
    description: Annotated[
        Line | None, Field(description="What it is good for; other agents and the selection of speakers read it.")
    ] = None
    model: Annotated[Alias | None, Field(description="Without it: the team's model.")] = None
    temperature: Annotated[
        float | None, Field(ge=0, le=2, strict=False, description="Without it: as the model has it.")
    ] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000, description="Of one answer.")] = None
    tools: Annotated[tuple[ToolName, ...], Field(max_length=32, description="Tools it may call, by name.")] = ()
    handoffs: Annotated[
        tuple[AgentName, ...], Field(max_length=32, description="For kind swarm: agents it may hand over to.")
    ] = ()
    memory: Annotated[MemoryForm | None, Field(description="Without it: all, as far as the model has room.")] = None
    kind: Annotated[
        Literal["model", "bot", "human", "runnable", "team", "society"],
        Field(
            description="Who speaks. model: the team's model. bot: a program that has registered with the hub. human: "
            "a person in the session, who is asked. runnable: one of LangChain's that the operator has named. team: "
            "a team, whose last words are the agent's. society: a team, and the agent's model answers from what was "
            "said in it."
        ),
    ] = "model"
    team: Annotated["InnerTeamForm | None", Field(description="For a team or a society: who is in it.")] = None
    show: Annotated[
        bool, Field(description="For a team or a society: whether people see what its agents say, as they say it.")
    ] = True
    agents_as_tools: Annotated[
        tuple["AgentForm", ...],
        Field(max_length=16, description="Agents that this one may ask, each by a tool: they have no turns."),
    ] = ()
    runnable: Annotated[Alias | None, Field(description="For a runnable: its name.")] = None
    user: Annotated[
        Line | None,
        Field(description="For a bot or a human: the only user who may take this place; else any editor of a session."),
    ] = None
    accept_s: Annotated[
        float, Field(gt=0, le=3600, strict=False, description="For a bot: seconds until it has begun its turn.")
    ] = ACCEPT_S
    silence_s: Annotated[
        float, Field(gt=0, le=3600, strict=False, description="For a bot: seconds between two signs of life.")
    ] = SILENCE_S
    timeout_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=LONGEST_S,
            strict=False,
            description="Seconds for a whole turn: of a bot, else four fifths of the team's turn_timeout_s; of a "
            "human, else what the hub gives for answers.",
        ),
    ] = None
    substitute: Annotated[
        AgentName | None,
        Field(description="For a bot or a human: the agent of the team that speaks when nobody does."),
    ] = None

    def spec(self, turn_timeout_s: float) -> AgentSpec:
        """The agent as engines take it, in a team whose turns may take so long."""
        shown = self.display_name or self.name.replace("_", " ").title()
        told = [
            f"You are {self.role}." if self.role is not None else "",
            f"Your goal: {self.goal}" if self.goal is not None else "",
            self.instructions or "",
        ]
        return AgentSpec(
            name=self.name,
            display_name=shown,
            instructions="\n\n".join(part for part in told if part),
            description=self.description or self.role or shown,
            tools=self.tools if self.kind != "human" else (TAKE_TURN,),
            handoffs=self.handoffs,
            model=self.model,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seat=self._seat(turn_timeout_s),
            memory=self.memory.memory() if self.memory is not None else Memory(),
            runnable=self.runnable,
            nested=self._nested(turn_timeout_s),
            helpers=tuple(helper.spec(turn_timeout_s) for helper in self.agents_as_tools),
        )

    def _nested(self, turn_timeout_s: float) -> Nested | None:
        if self.team is None:
            return None
        team = self.team.spec(self.name, turn_timeout_s)
        return Nested(team, is_shown=self.show, answers=self.kind == "society")

    def _seat(self, turn_timeout_s: float) -> Seat | None:
        match self.kind:
            case "model" | "runnable" | "team" | "society":
                return None
            case "human":
                return Seat(SeatKind.HUMAN, self.user, timeout_s=self.timeout_s, substitute=self.substitute)
            case "bot":
                return Seat(
                    SeatKind.BOT,
                    self.user,
                    self.accept_s,
                    self.silence_s,
                    self.timeout_s if self.timeout_s is not None else turn_timeout_s * SEAT_SHARE,
                    self.substitute,
                )
            case _:
                assert_never(self.kind)


class InnerTeamForm(Form):
    """A team that speaks as one agent of another. Its limits and budgets are those of one turn of that agent."""

    kind: Annotated[
        Literal["round_robin", "selector", "swarm", "graph", "magentic"],
        Field(description="Who speaks next, as in a team of its own."),
    ]
    model: Annotated[Alias | None, Field(description="Without it: the outer team's.")] = None
    agents: Annotated[tuple[AgentForm, ...], Field(min_length=1, max_length=32)]
    selector_prompt: Prompt = None
    edges: Edges = ()
    start: Start = None
    limits: LimitsForm = LimitsForm()
    budgets: BudgetsForm = BudgetsForm()

    def spec(self, name: str, turn_timeout_s: float) -> TeamSpec:
        """The team as engines take it, under the name of the agent that it speaks as."""
        return _spec(self, name, turn_timeout_s)


AgentForm.model_rebuild()  # it names the form above


class TeamForm(Form):
    """A team of agents for the Agent Hub."""

    name: TeamName
    description: Annotated[Line, Field(description="One line for people who choose a team.")]
    kind: Annotated[
        Literal["round_robin", "selector", "swarm", "graph", "magentic", "runnable"],
        Field(
            description="Who speaks next. round_robin: the next in the list. selector: whom the model picks. swarm: "
            "whom an agent hands the conversation to. graph: whom the edges lead to. magentic: whom an orchestrator "
            "asks, which plans, gives instructions and sums up. runnable: what the operator's "
            "code does, a graph of LangGraph's whose nodes may have the names of the agents.",
        ),
    ]
    model: Annotated[Alias | None, Field(description="Without it: the hub's default model.")] = None
    agents: Annotated[tuple[AgentForm, ...], Field(min_length=1, max_length=32)]
    selector_prompt: Prompt = None
    edges: Edges = ()
    start: Start = None
    runnable: Annotated[Alias | None, Field(description="For kind runnable: its name.")] = None
    limits: LimitsForm = LimitsForm()
    budgets: BudgetsForm = BudgetsForm()
    approvals: Annotated[
        dict[ToolName, ApprovalForm],
        Field(
            default_factory=dict, max_length=32, description="Calls that people are to approve, by their tools' names."
        ),
    ]

    def spec(self) -> TeamSpec:
        """The team as engines take it."""
        spec = _spec(self, self.name, self.limits.turn_timeout_s)
        wanted = tuple(form.approval(tool) for tool, form in self.approvals.items())
        return replace(spec, description=self.description, runnable=self.runnable, approvals=wanted)


def _spec(form: TeamForm | InnerTeamForm, name: str, turn_timeout_s: float) -> TeamSpec:
    return TeamSpec(
        name=name,
        description="",
        kind=TeamKind(form.kind),
        model=form.model,
        agents=tuple(agent.spec(turn_timeout_s) for agent in form.agents),
        max_turns=form.limits.max_turns,
        max_messages=form.limits.max_messages,
        turn_timeout_s=turn_timeout_s,
        stop_phrase=form.limits.stop_phrase,
        selector_prompt=form.selector_prompt,
        edges=tuple(edge.spec() for edge in form.edges),
        start=form.start,
        budgets=form.budgets.limits(),
        max_stalls=form.limits.max_stalls,
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of a team's file, for editors."""
    return {"$schema": SCHEMA_ID, **TeamForm.model_json_schema()}
