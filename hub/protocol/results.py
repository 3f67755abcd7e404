"""What commands answer with, and the shapes REST shares with them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson

from hub.domain.attachment import Attachment
from hub.domain.calls import Approval, InputRequest
from hub.domain.run import Run
from hub.domain.session import Member, Session
from hub.protocol.durable import SessionCreatedData, SessionUpdatedData
from hub.protocol.frames import timestamp
from hub.protocol.live import PresenceData
from hub.protocol.pieces import ForkedFromData, Optional, Person, SessionData, UsageData, Wire


class AuthResult(Wire):
    user: Person
    expires_at: str


class PingResult(Wire):
    time: str


class Empty(Wire):
    """`{}`: done, nothing to say."""


class JoinResult(Wire):
    """`session` is the id; `replay_from` the seq of the first event of the replay (`last_seq + 1`: there is none)."""

    session: str
    role: str
    last_seq: int
    replay_from: int
    presence: list[PresenceData]


class SendResult(Wire):
    """`run` is null when the message neither started nor queued a run."""

    seq: int
    message: str
    run: str | None


class RunCommandResult(Wire):
    run: str
    status: str


class SeqResult(Wire):
    seq: int


class CallResultResult(Wire):
    """All of what a tool call came to."""

    call: str
    name: str
    result: str


class RegisterResult(Wire):
    """What this connection takes turns of; null: wherever the caller may."""

    agent: str
    session: str | None
    team: str | None
    turns: int


class SeqRunResult(Wire):
    seq: int
    run: str | None


class MemberResult(Wire):
    user: str
    name: str
    role: str


class KeptFor(Wire):
    """How long an organisation keeps sessions in which nothing happens any more, and what was said in deleted ones, in
    seconds; null: as long as the hub. Where the hub's time is shorter, that one holds."""

    sessions_s: int | None
    deleted_s: int | None


class OrganisationResult(Wire):
    """An organisation the caller belongs to; `home`: sessions opened without saying where belong to it."""

    id: str
    name: str
    role: str | None
    home: bool
    guests: bool
    created_at: str
    keep: KeptFor


class OrganisationMemberResult(Wire):
    user: str
    name: str
    role: str


class InviteResult(Wire):
    """A link into a session, without its token; `uses` of `max_uses` are over."""

    id: str
    session: str
    role: str
    max_uses: int
    uses: int
    created_by: str
    created_at: str
    expires_at: str


class NewInviteResult(InviteResult):
    """A fresh link; `token` is never shown again."""

    token: str


class RunResult(Wire):
    id: str
    session: str
    status: str
    team: str
    attempt: int
    input_seq: int
    turns: int
    usage: UsageData
    created_at: str
    finished_at: str | None


class InputResult(Wire):
    """Something a run waits for people to say. `approvers` people have to approve it, `approved_by` have; the user
    `not_by` may not."""

    request: str
    run: str
    kind: str
    agent: str
    prompt: str
    call: str
    tool: str
    arguments: dict[str, Any]
    arguments_sha256: str
    created_at: str
    expires_at: str
    approvers: int
    not_by: str | None
    approved_by: list[Person]


class AgentResult(Wire):
    """`kind` is what speaks as the agent: a model, a program over the wire, a person who is asked, a runnable, or a
    team."""

    name: str
    display_name: str
    kind: Literal["model", "bot", "human", "runnable", "team"] = "model"


class TeamResult(Wire):
    """`version` is that of a team which was imported; null for one that comes with the hub or out of a file."""

    name: str
    description: str
    model: str
    agents: list[AgentResult]
    version: int | None = None


class SpentResult(Wire):
    """`cost` is in the operator's currency; `seconds` is the time that turns took, without the time people take."""

    prompt_tokens: int
    completion_tokens: int
    cost: float
    turns: int
    tool_calls: int
    seconds: float


class ModelUsageResult(Wire):
    """What was used of one model, by its alias. A turn is counted with the first model that it calls."""

    model: str
    calls: int
    usage: SpentResult


class SessionUsageResult(Wire):
    session: str
    usage: SpentResult
    models: list[ModelUsageResult]


class UserUsageResult(Wire):
    """What the runs that a user has asked for have used."""

    since: str
    until: str
    usage: SpentResult
    models: list[ModelUsageResult]


class BudgetResult(Wire):
    """A limit that holds. `used` is null for `run`: each run has its own. `set`: somebody has set it here; else it is
    the team's or the hub's. A cost is in the operator's currency."""

    scope: str
    quantity: str
    limit: float
    used: float | None
    set: bool


class TranscriptMessage(Wire):
    """One message of a transcript; `run` is null where it belongs to none. `parts` is there when it has attachments."""

    message: str
    seq: int
    run: str | None
    author: dict[str, Any]
    text: str
    status: str
    created_at: str
    parts: Annotated[list[dict[str, Any]] | None, Optional] = None


class AttachmentResult(Wire):
    """What was uploaded. `sha256` is in lower-case hex, `size` in bytes."""

    id: str
    session: str
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: str


class SearchHit(Wire):
    """A message in which the words were found. `snippet` is plain text around them, `title` the session's."""

    session: str
    title: str
    message: str
    seq: int
    author: dict[str, Any]
    snippet: str
    created_at: str


def session_data(session: Session) -> SessionData:
    """The wire's form of a session."""
    forked = session.forked_from
    return SessionData(
        id=session.id,
        title=session.title,
        team=session.team,
        role=session.role.value if session.role else None,
        status=session.status.value,
        last_seq=session.last_seq,
        on_busy=session.on_busy.value,
        created_at=timestamp(session.created_at),
        updated_at=timestamp(session.updated_at),
        metadata=dict(session.metadata),
        organisation=session.organisation,
        forked_from=ForkedFromData(session=forked.session, at_seq=forked.at_seq) if forked is not None else None,
        preview=session.preview,
    )


def session_created(session: Session, last_seq: int) -> SessionCreatedData:
    """A session for the event that opens its log, in a transaction that ends with this seq."""
    return SessionCreatedData.model_validate(_as_everybody_sees_it(session, last_seq))


def session_updated(session: Session, seq: int) -> SessionUpdatedData:
    """A session for the event that will have this seq."""
    return SessionUpdatedData.model_validate(_as_everybody_sees_it(session, seq))


def _as_everybody_sees_it(session: Session, last_seq: int) -> dict[str, Any]:
    return session_data(replace(session, role=None, last_seq=last_seq)).model_dump()


def input_result(request: InputRequest, yeses: Sequence[Approval] = ()) -> InputResult:
    """The wire's form of an open request, with the yeses it has."""
    return InputResult(
        request=request.id,
        run=request.run,
        kind=request.kind.value,
        agent=request.agent,
        prompt=request.prompt,
        call=request.call,
        tool=request.tool,
        arguments=orjson.loads(request.arguments),
        arguments_sha256=request.arguments_sha256.hex(),
        created_at=timestamp(request.created_at),
        expires_at=timestamp(request.expires_at),
        approvers=request.approvers,
        not_by=request.not_by,
        approved_by=[Person(id=yes.user, name=yes.name) for yes in yeses],
    )


def member_result(member: Member) -> MemberResult:
    """The wire's form of a membership."""
    return MemberResult(user=member.user, name=member.name, role=member.role.value)


def run_result(run: Run) -> RunResult:
    """The wire's form of a run."""
    return RunResult(
        id=run.id,
        session=run.session,
        status=run.status.value,
        team=run.team,
        attempt=run.attempt,
        input_seq=run.input_seq,
        turns=run.turns,
        usage=UsageData.of(run.usage),
        created_at=timestamp(run.created_at),
        finished_at=timestamp(run.finished_at) if run.finished_at else None,
    )


def attachment_part(attachment: Attachment) -> dict[str, object]:
    """An attachment as part of a message."""
    return {
        "type": "attachment",
        "id": attachment.id,
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size": attachment.size,
        "sha256": attachment.sha256.hex(),
    }
