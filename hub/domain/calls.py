"""Tool calls that a run carries out, and what it asks people about them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hub.domain.ids import CallId, RequestId, RunId, SessionId, UserId


class CallStatus(StrEnum):
    """`asked`: a person is to decide first. `ready`: it may be made. `called`: it was begun, and what came of it is
    unknown until it is `done`."""

    ASKED = "asked"
    READY = "ready"
    CALLED = "called"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call at which a turn stands.

    `slot` is where the team's state awaits its result; `id` is what everybody calls it, and new when it is made again.
    `arguments` is canonical JSON. `result` is there when it is done. `allowed_sha256` is the digest of the arguments
    that a person has agreed to, if one has.
    """

    slot: str
    id: CallId
    run: RunId
    turn: int
    agent: str
    tool: str
    arguments: str
    status: CallStatus
    result: str | None = None
    is_error: bool = False
    allowed_sha256: bytes | None = None


class RequestKind(StrEnum):
    APPROVAL = "approval"
    QUESTION = "question"
    RETRY = "retry"


class Decision(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class InputRequest:
    """Something that a run waits for people to say. `arguments_sha256` is the digest of `arguments`.

    `approvers` people have to approve; `not_by` is the user who may not, if there is one.
    """

    id: RequestId
    session: SessionId
    run: RunId
    turn: int
    kind: RequestKind
    agent: str
    prompt: str
    call: CallId
    slot: str
    tool: str
    arguments: str
    arguments_sha256: bytes
    created_at: datetime
    expires_at: datetime
    approvers: int = 1
    not_by: UserId | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One of several yeses that a request needs, and the place of its event in the log."""

    user: UserId
    name: str
    seq: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a request was resolved. `by` is None when the hub did it, because it had expired."""

    seq: int
    decision: Decision | None
    text: str | None
    by: str | None
