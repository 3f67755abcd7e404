"""The data of live events, as the hub sends them. They are not in the log and have no `seq`."""

from typing import Annotated, ClassVar, Literal

from hub.protocol.pieces import AgentAuthor, Optional, Wire


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


class HeardAttachment(Wire):
    """What a message has beside its words; its content is at `/v1/sessions/{session}/attachments/{id}`."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str


class HeardData(Wire):
    """Something that was said before, as the agent knows it. An agent's `name` is that of the team's file."""

    kind: Literal["user", "agent"]
    name: str
    text: str
    attachments: Annotated[list[HeardAttachment] | None, Optional] = None


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
