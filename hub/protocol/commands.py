"""What a client may send: one closed union, told apart by `type`. Unknown fields are an error."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from hub.domain.session import OnBusy
from hub.protocol.text import MAX_TEXT, Id, Key, MessageText, Metadata, Name, Storable, Title

MAX_SERVED = 64  # turns that a connection takes at once
MAX_PIECE = 16_000  # characters of one `turn.delta`


class Command(BaseModel):
    """A frame from a client. `id` is the client's own and comes back in the one reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Id


class TextPart(BaseModel):
    """A piece of a message's content."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["text"] = "text"
    text: MessageText


class AttachmentPart(BaseModel):
    """Something that the author has uploaded to the session (`POST /v1/sessions/{id}/attachments`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["attachment"]
    id: Id


Part = TextPart | AttachmentPart
"""A piece of a message's content."""


class Auth(Command):
    """Authenticate, as first frame, or replace the credential of the open connection (same user)."""

    type: Literal["auth"] = "auth"
    token: Annotated[str, Field(min_length=1, max_length=8192)]


class Ping(Command):
    """Is anybody there; answered with the hub's time."""

    type: Literal["ping"] = "ping"


class SessionCreate(Command):
    """Open a session with a team; the caller becomes its owner."""

    type: Literal["session.create"] = "session.create"
    team: Name
    title: Title | None = None
    metadata: Metadata | None = None
    on_busy: OnBusy | None = None
    organisation: Id | None = None


class SessionJoin(Command):
    """Follow a session: its events after `after_seq` (absent: the last 50), then everything live."""

    type: Literal["session.join"] = "session.join"
    session: Id
    after_seq: Annotated[int, Field(ge=0, lt=2**53, strict=True)] | None = None


class SessionLeave(Command):
    """Stop following a session."""

    type: Literal["session.leave"] = "session.leave"
    session: Id


class MessageSend(Command):
    """Say something in a session. `client_id` is the idempotency key of the author in this session."""

    type: Literal["message.send"] = "message.send"
    session: Id
    client_id: Key
    text: MessageText | None = None
    parts: Annotated[list[Part], Field(min_length=1, max_length=32)] | None = None
    to: Name | None = None
    on_busy: OnBusy | None = None

    @model_validator(mode="after")
    def _has_content(self) -> "MessageSend":
        if self.text is None and self.parts is None:
            raise ValueError("text or parts is required")
        if self.text is None and len(self.full_text) > MAX_TEXT:
            raise ValueError(f"parts must hold at most {MAX_TEXT} characters")
        return self

    @property
    def full_text(self) -> str:
        """The text, or the text of the parts."""
        if self.text is not None:
            return self.text
        return "\n".join(part.text for part in self.parts or () if isinstance(part, TextPart))


class MessageEdit(Command):
    """Replace a message of the caller, cut the conversation there and run again."""

    type: Literal["message.edit"] = "message.edit"
    session: Id
    message: Id
    text: MessageText


class MessageRegenerate(Command):
    """Have the team answer again."""

    type: Literal["message.regenerate"] = "message.regenerate"
    session: Id
    message: Id


class RunCancel(Command):
    """Stop a run; without `run`, the live one (or else the one that is next in the queue)."""

    type: Literal["run.cancel"] = "run.cancel"
    session: Id
    run: Id | None = None


class RunPause(Command):
    """Let the run stop after its present turn."""

    type: Literal["run.pause"] = "run.pause"
    session: Id


class RunResume(Command):
    """Let a paused run go on."""

    type: Literal["run.resume"] = "run.resume"
    session: Id


class InputRespond(Command):
    """Answer a question or an approval of a run. With `arguments_sha256` the answer is for these arguments only."""

    type: Literal["input.respond"] = "input.respond"
    session: Id
    request: Id
    decision: Literal["approve", "reject"] | None = None
    text: MessageText | None = None
    arguments_sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None


class SessionFork(Command):
    """A new session with this one's conversation up to `at_seq`."""

    type: Literal["session.fork"] = "session.fork"
    session: Id
    at_seq: Annotated[int, Field(ge=1, lt=2**53, strict=True)]


class PresenceSet(Command):
    """Tell the others in a session what the caller is doing."""

    type: Literal["presence.set"] = "presence.set"
    session: Id
    status: Literal["active", "idle", "typing"]


class AgentRegister(Command):
    """Take turns of the agent `agent` from now on, on this connection: of one session, of one team's sessions, or
    wherever the caller may. `turns`: how many at once; 0 takes no new ones."""

    type: Literal["agent.register"] = "agent.register"
    agent: Name
    session: Id | None = None
    team: Name | None = None
    turns: Annotated[int, Field(ge=0, le=MAX_SERVED, strict=True)] = 8


class TurnDelta(Command):
    """The next piece of an offered turn's text, `index` 0, 1, 2 …; an empty one says that the bot is at work."""

    type: Literal["turn.delta"] = "turn.delta"
    offer: Id
    index: Annotated[int, Field(ge=0, lt=2**31, strict=True)]
    text: Annotated[Storable, Field(max_length=MAX_PIECE)]


class TurnComplete(Command):
    """An offered turn is done. Without `text` it is that of its deltas; in a swarm it may hand over."""

    type: Literal["turn.complete"] = "turn.complete"
    offer: Id
    text: MessageText | None = None
    handoff: Name | None = None


class TurnDecline(Command):
    """Somebody else is to take an offered turn."""

    type: Literal["turn.decline"] = "turn.decline"
    offer: Id
    reason: Title | None = None


AnyCommand = (
    Auth
    | Ping
    | SessionCreate
    | SessionJoin
    | SessionLeave
    | MessageSend
    | MessageEdit
    | MessageRegenerate
    | RunCancel
    | RunPause
    | RunResume
    | InputRespond
    | SessionFork
    | PresenceSet
    | AgentRegister
    | TurnDelta
    | TurnComplete
    | TurnDecline
)

COMMAND: TypeAdapter[AnyCommand] = TypeAdapter(Annotated[AnyCommand, Field(discriminator="type")])
