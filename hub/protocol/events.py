"""What happens in a session, as a client parses it: an envelope around the data of `durable` and `live`.

Unknown fields and unknown event types are to be ignored by clients.
"""

from datetime import datetime
from typing import Annotated, Literal

from hub.protocol import durable, live
from hub.protocol.pieces import Optional, Wire


class Event(Wire):
    """What all events share. `session` is absent on `auth.expiring` and `server.draining`."""

    session: Annotated[str | None, Optional] = None
    run: Annotated[str | None, Optional] = None
    ts: Annotated[datetime | None, Optional] = None


class DurableEvent(Event):
    seq: int


class SessionCreated(DurableEvent):
    type: Literal["session.created"] = "session.created"
    data: durable.SessionCreatedData


class SessionUpdated(DurableEvent):
    type: Literal["session.updated"] = "session.updated"
    data: durable.SessionUpdatedData


class MemberAdded(DurableEvent):
    type: Literal["member.added"] = "member.added"
    data: durable.MemberAddedData


class MemberRemoved(DurableEvent):
    type: Literal["member.removed"] = "member.removed"
    data: durable.MemberRemovedData


class MemberUpdated(DurableEvent):
    type: Literal["member.updated"] = "member.updated"
    data: durable.MemberUpdatedData


class MessageCreated(DurableEvent):
    type: Literal["message.created"] = "message.created"
    data: durable.MessageCreatedData


class RunQueued(DurableEvent):
    type: Literal["run.queued"] = "run.queued"
    data: durable.RunQueuedData


class RunStarted(DurableEvent):
    type: Literal["run.started"] = "run.started"
    data: durable.RunStartedData


class TurnStarted(DurableEvent):
    type: Literal["turn.started"] = "turn.started"
    data: durable.TurnStartedData


class TurnSuperseded(DurableEvent):
    type: Literal["turn.superseded"] = "turn.superseded"
    data: durable.TurnSupersededData


class MessageCompleted(DurableEvent):
    type: Literal["message.completed"] = "message.completed"
    data: durable.MessageCompletedData


class ToolCalled(DurableEvent):
    type: Literal["tool.called"] = "tool.called"
    data: durable.ToolCalledData


class ToolReturned(DurableEvent):
    type: Literal["tool.returned"] = "tool.returned"
    data: durable.ToolReturnedData


class AgentHandoff(DurableEvent):
    type: Literal["agent.handoff"] = "agent.handoff"
    data: durable.AgentHandoffData


class InputRequested(DurableEvent):
    type: Literal["input.requested"] = "input.requested"
    data: durable.InputRequestedData


class InputApproved(DurableEvent):
    type: Literal["input.approved"] = "input.approved"
    data: durable.InputApprovedData


class InputResolved(DurableEvent):
    type: Literal["input.resolved"] = "input.resolved"
    data: durable.InputResolvedData


class MessageSteered(DurableEvent):
    type: Literal["message.steered"] = "message.steered"
    data: durable.MessageSteeredData


class MessageRedacted(DurableEvent):
    type: Literal["message.redacted"] = "message.redacted"
    data: durable.MessageRedactedData


class RunFinished(DurableEvent):
    type: Literal["run.finished"] = "run.finished"
    data: durable.RunFinishedData


class BudgetReached(DurableEvent):
    type: Literal["budget.reached"] = "budget.reached"
    data: durable.BudgetReachedData


class MessageDelta(Event):
    type: Literal["message.delta"] = "message.delta"
    data: live.MessageDeltaData


class MessageSnapshot(Event):
    type: Literal["message.snapshot"] = "message.snapshot"
    data: live.MessageSnapshotData


class ReasoningDelta(Event):
    type: Literal["reasoning.delta"] = "reasoning.delta"
    data: live.ReasoningDeltaData


class PresenceChanged(Event):
    type: Literal["presence.changed"] = "presence.changed"
    data: live.PresenceChangedData


class AgentStatus(Event):
    type: Literal["agent.status"] = "agent.status"
    data: live.AgentStatusData


class Resync(Event):
    type: Literal["resync"] = "resync"
    data: live.ResyncData


class AuthExpiring(Event):
    type: Literal["auth.expiring"] = "auth.expiring"
    data: live.AuthExpiringData


class ServerDraining(Event):
    type: Literal["server.draining"] = "server.draining"
    data: live.ServerDrainingData


class TurnOffered(Event):
    type: Literal["turn.offered"] = "turn.offered"
    data: live.TurnOfferedData


class TurnWithdrawn(Event):
    type: Literal["turn.withdrawn"] = "turn.withdrawn"
    data: live.TurnWithdrawnData


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
