"""The parts of a team's file in which there are no agents, and the words that its forms share."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hub.domain.budget import BudgetScope, Limit, Quantity, limit_of
from hub.domain.team import MAX_STALLS, Approval, ArgumentRule, Edge, Keep, Memory
from hub.engine.forms import Form
from hub.engine.tools.function import MAX_APPROVERS

TeamName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$"),
    Field(description="What people choose the team by: a small letter, then small letters, digits, - and _."),
]
AgentName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$"),
    Field(description="What model providers and other agents know the agent by: small letters, digits and _."),
]
Alias = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$"),
    Field(description="A model of the operator's, by its alias."),
]
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\r\n]+$")]
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16_000)]
Prompt = Annotated[
    Prose | None,
    Field(
        description="For kind selector: the question to the model. {roles}, {participants} and {history} stand "
        "for the agents, the names to choose from, and what was said last."
    ),
]

Scalar = Annotated[str, StringConstraints(max_length=500)] | bool | int | float | None


class MemoryForm(Form):
    """What the agent keeps of a conversation. What it does not keep, its model is not shown again."""

    keep: Annotated[
        Literal["all", "last", "ends", "tokens", "summary"],
        Field(
            description="last: the last messages. ends: the first and the last. tokens: the newest of so many tokens. "
            "summary: the last, and what was before in a few sentences by the team's model."
        ),
    ]
    first: Annotated[int | None, Field(ge=1, le=200)] = None
    last: Annotated[int | None, Field(ge=1, le=200)] = None
    tokens: Annotated[int | None, Field(ge=100, le=1_000_000)] = None

    def memory(self) -> Memory:
        """As engines take it."""
        return Memory(Keep(self.keep), self.first or 0, self.last or 0, self.tokens or 0)


class EdgeForm(Form):
    """An edge of a graph: who speaks after whom."""

    source: Annotated[AgentName, Field(alias="from", description="The agent that has spoken.")]
    target: Annotated[AgentName, Field(alias="to", description="The agent that speaks then.")]
    when: Annotated[Line | None, Field(description="Only if what was said holds these words.")] = None
    group: Annotated[
        str,
        StringConstraints(max_length=48),
        Field(description="Edges to one agent that belong together; else all edges to it do."),
    ] = ""
    wait_for: Annotated[
        Literal["all", "any"], Field(description="Whether the agent waits for all edges of the group, or for one.")
    ] = "all"

    def spec(self) -> Edge:
        """The edge as engines take it."""
        return Edge(self.source, self.target, self.when, self.group, any_of_group=self.wait_for == "any")


class LimitsForm(Form):
    """What bounds a run of the team."""

    max_turns: Annotated[int, Field(ge=1, le=200, description="Turns of a run at most.")] = 8
    max_messages: Annotated[
        int | None,
        Field(ge=1, le=10_000, description="A run ends with the turn in which its agents have said so many messages."),
    ] = None
    turn_timeout_s: Annotated[
        float, Field(gt=0, le=3600, strict=False, description="Seconds that one turn may take.")
    ] = 300.0
    stop_phrase: Annotated[Line | None, Field(description="A run ends when what an agent says holds these words.")] = (
        None
    )
    max_stalls: Annotated[
        int,
        Field(ge=1, le=50, description="For kind magentic: steps without progress after which there is a new plan."),
    ] = MAX_STALLS


class SpendingForm(Form):
    """What may be spent; what is left out is not limited."""

    tokens: Annotated[int | None, Field(ge=0, le=10**12, description="Sent and answered.")] = None
    cost: Annotated[float | None, Field(ge=0, le=10**9, strict=False, description="In the operator's currency.")] = None
    turns: Annotated[int | None, Field(ge=0, le=10**9)] = None
    tool_calls: Annotated[int | None, Field(ge=0, le=10**9)] = None
    seconds: Annotated[
        float | None, Field(ge=0, le=10**9, strict=False, description="Of turns; the time of people is not counted.")
    ] = None

    def limits(self, scope: BudgetScope) -> list[Limit]:
        """The limits as runs take them."""
        given = [(quantity, getattr(self, quantity.value)) for quantity in Quantity]
        return [limit_of(scope, quantity, number) for quantity, number in given if number is not None]


class BudgetsForm(Form):
    """What a run, and all of a session, may spend. Its owner may set other limits for a session."""

    run: SpendingForm = SpendingForm()
    session: SpendingForm = SpendingForm()

    def limits(self) -> tuple[Limit, ...]:
        """All limits."""
        return (*self.run.limits(BudgetScope.RUN), *self.session.limits(BudgetScope.SESSION))


Edges = Annotated[tuple[EdgeForm, ...], Field(max_length=200, description="For kind graph.")]
Start = Annotated[AgentName | None, Field(description="For kind graph: who begins; else all that no edge leads to.")]


class ArgumentRuleForm(Form):
    """That an argument of a call compares so with a value. What cannot be compared counts as if it did."""

    argument: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,4}$"),
        Field(description="Its name; `to.country` is inside an object."),
    ]
    comparison: Annotated[Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"], Field(alias="is")]
    value: Scalar | Annotated[tuple[Scalar, ...], Field(max_length=50)]

    def rule(self) -> ArgumentRule:
        """As engines take it."""
        return ArgumentRule(self.argument, self.comparison, self.value)


class ApprovalForm(Form):
    """Calls of a tool that people are to approve, beyond what the tool's own rules want: of both the stricter holds."""

    when: Annotated[
        tuple[ArgumentRuleForm, ...] | None,
        Field(min_length=1, max_length=10, description="Calls for which one of these holds; without it: every call."),
    ] = None
    approvers: Annotated[int, Field(ge=1, le=MAX_APPROVERS, description="How many people have to approve.")] = 1
    by_others: Annotated[bool, Field(description="Not by the user whose message asked for the run.")] = False

    def approval(self, tool: str) -> Approval:
        """As engines take it."""
        return Approval(tool, tuple(rule.rule() for rule in self.when or ()), self.approvers, self.by_others)
