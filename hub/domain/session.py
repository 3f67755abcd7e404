"""Sessions and who may do what in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hub.domain.ids import OrganisationId, SessionId, UserId


class Role(StrEnum):
    """A member's role in a session; each role may do what those below it may."""

    OWNER = "owner"
    EDITOR = "editor"
    APPROVER = "approver"
    VIEWER = "viewer"

    @property
    def rank(self) -> int:
        """0 for viewer up to 3 for owner."""
        return _RANK[self]

    def includes(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        return self.rank >= needed.rank


_RANK = {Role.VIEWER: 0, Role.APPROVER: 1, Role.EDITOR: 2, Role.OWNER: 3}


class OnBusy(StrEnum):
    """What a message does when a run is already live in its session."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"
    STEER = "steer"


class SessionStatus(StrEnum):
    """What the session is doing, derived from its live run."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """Where a session's conversation was copied from: another session's, as it was at this place of its log."""

    session: SessionId
    at_seq: int


@dataclass(frozen=True, slots=True)
class Session:
    """One durable conversation, as one viewer sees it (`role` is None where no viewer is meant)."""

    id: SessionId
    title: str
    team: str
    role: Role | None
    status: SessionStatus
    last_seq: int
    on_busy: OnBusy
    created_at: datetime
    updated_at: datetime
    organisation: OrganisationId
    metadata: Mapping[str, object] = field(default_factory=dict)
    forked_from: ForkedFrom | None = None
    preview: str | None = None
    """In a list, of a session without a title: how its first message begins."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user's membership of a session."""

    user: UserId
    name: str
    role: Role
