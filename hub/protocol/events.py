"""What happens in a session, as clients see it. Durable events are in the log and have a `seq`; live ones have none.

The data models are what the hub writes; the event models around them are what a client parses. Unknown fields and
unknown event types are to be ignored by clients.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hub.domain.run import Usage


def _absent(value: object) -> bool:
    return value is None


Optional = Field(default=None, exclude_if=_absent)  # a `?` field of the protocol: left out instead of null


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


# ---- pieces


class UserAuthor(Wire):
    kind: Literal["user"] = "user"
    id: str
    name: str


class AgentAuthor(Wire):
    kind: Literal["agent"] = "agent"
    name: str
    display_name: str


class UsageData(Wire):
    """`cost` is in the operator's currency, and there only where a price is known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Annotated[float | None, Optional] = None

    @classmethod
    def of(cls, usage: Usage) -> "UsageData":
        """The wire's form of what was used."""
        cost = usage.cost_micros / 1_000_000 if usage.cost_micros else None
        return cls(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cost=cost)


class ErrorData(Wire):
    code: str
    message: str


class Person(Wire):
    id: str
    name: str


class ForkedFromData(Wire):
    """The session a conversation was copied from, and the place in its log."""

    session: str
    at_seq: int


class SessionData(Wire):
    """A session; `role` is the viewer's, and null in events, which are the same for everybody."""

    id: str
    title: str
    team: str
    role: Literal["owner", "editor", "approver", "viewer"] | None
    status: Literal["idle", "running", "waiting", "paused"]
    last_seq: int
    on_busy: Literal["queue", "reject", "interrupt", "steer"]
    created_at: str
    updated_at: str
    metadata: dict[str, Any]
    organisation: Annotated[str | None, Optional] = None
    forked_from: Annotated[ForkedFromData | None, Optional] = None


# ---- data of durable events


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


# ---- data of live events


class LiveData(Wire):
    TYPE: ClassVar[str]


class MessageDeltaData(LiveData):
    """The next piece of an open message. `n` (absent: 1): how many pieces are merged in it; next is `index + n`."""

    TYPE = "message.delta"
    message: str
    turn: int
    author: AgentAuthor
    index: int
    text: str
    n: Annotated[int | None, Optional] = None


class MessageSnapshotData(LiveData):
    """The whole text so far of an open message; the next delta is `index`."""

    TYPE = "message.snapshot"
    message: str
    turn: int
    author: AgentAuthor
    index: int
    text: str


class ReasoningDeltaData(LiveData):
    TYPE = "reasoning.delta"
    message: str
    turn: int
    author: AgentAuthor
    index: int
    text: str


class PresenceData(Wire):
    user: str
    name: str
    status: Literal["active", "idle", "typing", "offline"]
    connections: int


class PresenceChangedData(PresenceData, LiveData):
    TYPE = "presence.changed"


class AgentStatusData(LiveData):
    TYPE = "agent.status"
    agent: str
    status: Literal["thinking", "writing", "calling", "idle"]


class ResyncData(LiveData):
    """Events after `from_seq` follow again from the log."""

    TYPE = "resync"
    from_seq: int
    reason: str


class AuthExpiringData(LiveData):
    TYPE = "auth.expiring"
    expires_at: str


class ServerDrainingData(LiveData):
    TYPE = "server.draining"
    reconnect_after_ms: int


class HeardData(Wire):
    """Something that was said before, as the agent knows it. An agent's `name` is that of the team's file."""

    kind: Literal["user", "agent"]
    name: str
    text: str


class TurnOfferedData(LiveData):
    """A turn for a registered agent, to this connection alone. `attempt` is that of `turn.started`, `retry` how often
    the turn was offered before in it. `context` is what the agent has heard, the newest last; `prompt` is the message
    that asked for the run. Seconds count from now."""

    TYPE = "turn.offered"
    offer: str
    agent: str
    team: str
    turn: int
    attempt: int
    retry: int
    instructions: str
    prompt: str
    context: list[HeardData]
    handoffs: list[str]
    accept_s: float
    silence_s: float
    timeout_s: float


class TurnWithdrawnData(LiveData):
    """The offer does not stand any more: nothing is taken from it."""

    TYPE = "turn.withdrawn"
    offer: str
    reason: Literal["superseded", "not_accepted", "silent", "timed_out", "cancelled", "lost"]


# ---- events as a client parses them


class Event(Wire):
    """What all events share. `session` is absent on `auth.expiring` and `server.draining`."""

    session: Annotated[str | None, Optional] = None
    run: Annotated[str | None, Optional] = None
    ts: Annotated[datetime | None, Optional] = None


class DurableEvent(Event):
    seq: int


class SessionCreated(DurableEvent):
    type: Literal["session.created"] = "session.created"
    data: SessionCreatedData


class SessionUpdated(DurableEvent):
    type: Literal["session.updated"] = "session.updated"
    data: SessionUpdatedData


class MemberAdded(DurableEvent):
    type: Literal["member.added"] = "member.added"
    data: MemberAddedData


class MemberRemoved(DurableEvent):
    type: Literal["member.removed"] = "member.removed"
    data: MemberRemovedData


class MemberUpdated(DurableEvent):
    type: Literal["member.updated"] = "member.updated"
    data: MemberUpdatedData


class MessageCreated(DurableEvent):
    type: Literal["message.created"] = "message.created"
    data: MessageCreatedData


class RunQueued(DurableEvent):
    type: Literal["run.queued"] = "run.queued"
    data: RunQueuedData


class RunStarted(DurableEvent):
    type: Literal["run.started"] = "run.started"
    data: RunStartedData


class TurnStarted(DurableEvent):
    type: Literal["turn.started"] = "turn.started"
    data: TurnStartedData


class TurnSuperseded(DurableEvent):
    type: Literal["turn.superseded"] = "turn.superseded"
    data: TurnSupersededData


class MessageCompleted(DurableEvent):
    type: Literal["message.completed"] = "message.completed"
    data: MessageCompletedData


class ToolCalled(DurableEvent):
    type: Literal["tool.called"] = "tool.called"
    data: ToolCalledData


class ToolReturned(DurableEvent):
    type: Literal["tool.returned"] = "tool.returned"
    data: ToolReturnedData


class AgentHandoff(DurableEvent):
    type: Literal["agent.handoff"] = "agent.handoff"
    data: AgentHandoffData


class InputRequested(DurableEvent):
    type: Literal["input.requested"] = "input.requested"
    data: InputRequestedData


class InputApproved(DurableEvent):
    type: Literal["input.approved"] = "input.approved"
    data: InputApprovedData


class InputResolved(DurableEvent):
    type: Literal["input.resolved"] = "input.resolved"
    data: InputResolvedData


class MessageSteered(DurableEvent):
    type: Literal["message.steered"] = "message.steered"
    data: MessageSteeredData


class MessageRedacted(DurableEvent):
    type: Literal["message.redacted"] = "message.redacted"
    data: MessageRedactedData


class RunFinished(DurableEvent):
    type: Literal["run.finished"] = "run.finished"
    data: RunFinishedData


class BudgetReached(DurableEvent):
    type: Literal["budget.reached"] = "budget.reached"
    data: BudgetReachedData


class MessageDelta(Event):
    type: Literal["message.delta"] = "message.delta"
    data: MessageDeltaData


class MessageSnapshot(Event):
    type: Literal["message.snapshot"] = "message.snapshot"
    data: MessageSnapshotData


class ReasoningDelta(Event):
    type: Literal["reasoning.delta"] = "reasoning.delta"
    data: ReasoningDeltaData


class PresenceChanged(Event):
    type: Literal["presence.changed"] = "presence.changed"
    data: PresenceChangedData


class AgentStatus(Event):
    type: Literal["agent.status"] = "agent.status"
    data: AgentStatusData


class Resync(Event):
    type: Literal["resync"] = "resync"
    data: ResyncData


class AuthExpiring(Event):
    type: Literal["auth.expiring"] = "auth.expiring"
    data: AuthExpiringData


class ServerDraining(Event):
    type: Literal["server.draining"] = "server.draining"
    data: ServerDrainingData


class TurnOffered(Event):
    type: Literal["turn.offered"] = "turn.offered"
    data: TurnOfferedData


class TurnWithdrawn(Event):
    type: Literal["turn.withdrawn"] = "turn.withdrawn"
    data: TurnWithdrawnData


AnyDurableEvent = (
    SessionCreated
    | SessionUpdated
    | MemberAdded
    | MemberRemoved
    | MemberUpdated
    | MessageCreated
    | RunQueued
    | RunStarted
    | TurnStarted
    | TurnSuperseded
    | MessageCompleted
    | ToolCalled
    | ToolReturned
    | AgentHandoff
    | InputRequested
    | InputApproved
    | InputResolved
    | MessageSteered
    | MessageRedacted
    | RunFinished
    | BudgetReached
)
AnyLiveEvent = (
    MessageDelta
    | MessageSnapshot
    | ReasoningDelta
    | PresenceChanged
    | AgentStatus
    | Resync
    | AuthExpiring
    | ServerDraining
    | TurnOffered
    | TurnWithdrawn
)
AnyEvent = AnyDurableEvent | AnyLiveEvent

EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])
