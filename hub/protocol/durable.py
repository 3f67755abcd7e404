"""The data of durable events, as the hub writes them into the log. An event of the log has a `seq`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from hub.protocol.pieces import AgentAuthor, ErrorData, Optional, Person, SessionData, UsageData, UserAuthor, Wire


class DurableData(Wire):
    """`TYPE` is the `type` of the event that carries it."""

    TYPE: ClassVar[str]


class SessionCreatedData(SessionData, DurableData):
    TYPE = "session.created"


class SessionUpdatedData(SessionData, DurableData):
    TYPE = "session.updated"


class _MemberData(DurableData):
    user: str
    name: str
    role: Literal["owner", "editor", "approver", "viewer"]


class MemberAddedData(_MemberData):
    TYPE = "member.added"


class MemberRemovedData(_MemberData):
    TYPE = "member.removed"


class MemberUpdatedData(_MemberData):
    TYPE = "member.updated"


class MessageCreatedData(DurableData):
    """`replaces` is the message in whose place this one stands, `steers` the run that it is to steer."""

    TYPE = "message.created"
    message: str
    author: UserAuthor
    text: str
    parts: list[dict[str, Any]]
    client_id: str
    to: str | None
    replaces: Annotated[str | None, Optional] = None
    steers: Annotated[str | None, Optional] = None


class RunQueuedData(DurableData):
    TYPE = "run.queued"
    input_seq: int


class RunStartedData(DurableData):
    """`team_version` is that of a team which was imported; the run keeps it."""

    TYPE = "run.started"
    team: str
    attempt: int
    node: str
    team_version: Annotated[int | None, Optional] = None


class TurnStartedData(DurableData):
    TYPE = "turn.started"
    turn: int
    agent: str
    attempt: int


class TurnSupersededData(DurableData):
    """What this turn showed so far is void; it is done again."""

    TYPE = "turn.superseded"
    turn: int
    attempt: int
    messages: list[str]
    reason: str


class MessageCompletedData(DurableData):
    """The whole text of an agent's message; it replaces whatever was streamed."""

    TYPE = "message.completed"
    message: str
    author: AgentAuthor
    text: str
    reasoning: Annotated[str | None, Optional] = None
    turn: int
    status: Literal["complete", "interrupted", "failed"]
    usage: UsageData


class ToolCalledData(DurableData):
    TYPE = "tool.called"
    call: str
    agent: str
    name: str
    arguments: dict[str, Any]
    turn: int


class ToolReturnedData(DurableData):
    """What a call came to. Of a large result `result` is the beginning and `characters` tells how large it is:
    `GET /v1/sessions/{id}/calls/{call}` has all of it."""

    TYPE = "tool.returned"
    call: str
    name: str
    result: str
    is_error: bool
    characters: Annotated[int | None, Optional] = None


class AgentHandoffData(DurableData):
    TYPE = "agent.handoff"
    model_config = ConfigDict(extra="ignore", frozen=True, validate_by_name=True, serialize_by_alias=True)
    source: Annotated[str, Field(alias="from")]
    to: str
    reason: str


class InputRequestedData(DurableData):
    """A run asks a person. `arguments_sha256` is of the call's `arguments` as canonical JSON. Open until it is
    resolved or its run has finished. `approvers` people have to approve (absent: one); the user `not_by` may not."""

    TYPE = "input.requested"
    request: str
    kind: Literal["approval", "question", "retry"]
    agent: str
    prompt: str
    call: Annotated[str | None, Optional] = None
    tool: Annotated[str | None, Optional] = None
    arguments: Annotated[dict[str, Any] | None, Optional] = None
    arguments_sha256: Annotated[str | None, Optional] = None
    expires_at: str
    approvers: Annotated[int | None, Optional] = None
    not_by: Annotated[str | None, Optional] = None


class InputApprovedData(DurableData):
    """One of several yeses that a request needs: `approvals` of `approvers` are there now. The last one is
    `input.resolved`."""

    TYPE = "input.approved"
    request: str
    text: str | None
    by: Person
    approvals: int
    approvers: int


class InputResolvedData(DurableData):
    """The answer. `by` has the id `hub` when the hub gave it itself, because nobody did in time. `approved_by` are all
    who have approved, when it took several."""

    TYPE = "input.resolved"
    request: str
    decision: Literal["approve", "reject"] | None
    text: str | None
    by: Person
    approved_by: Annotated[list[Person] | None, Optional] = None


class MessageSteeredData(DurableData):
    TYPE = "message.steered"
    message: str
    outcome: Literal["consumed", "follow_up"]
    turn: Annotated[int | None, Optional] = None


class MessageRedactedData(DurableData):
    """The message is not part of the conversation any more: it was `edited`, or stood behind one that was, or is to be
    `regenerated`, or belongs to a person who was `erased`: then its text is gone from the log, too."""

    TYPE = "message.redacted"
    message: str
    by: Person
    reason: Annotated[Literal["edited", "regenerated", "erased"] | None, Optional] = None


class RunFinishedData(DurableData):
    TYPE = "run.finished"
    status: Literal["completed", "failed", "cancelled"]
    reason: str
    error: Annotated[ErrorData | None, Optional] = None
    usage: UsageData
    input_seq: int
    turns: int
    duration_ms: int


class BudgetReachedData(DurableData):
    """`limit` and `used` are of `quantity`; a cost is in the operator's currency."""

    TYPE = "budget.reached"
    scope: str
    quantity: str
    limit: float
    used: float
