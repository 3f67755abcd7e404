"""The tables, as declarative models: what Alembic compares migrations with. Statements are written in the modules that
own them; nothing is loaded or saved through these classes.

Ids are UUIDs given by the hub, times are the database's. Words of closed sets (roles, statuses) are plain text: the
domain's enums are their guard, so that two versions of the hub can share one schema.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LIVE = sql("status IN ('running', 'waiting', 'paused')")
CLAIMABLE = sql("status IN ('queued', 'running')")
OPEN = sql("status IN ('queued', 'running', 'waiting', 'paused')")
# Every language alike: words are not stemmed. A text has a bound, for a tsvector has one (1 MB).
WORDS = "to_tsvector('simple'::regconfig, left(text, 100000))"
# Room in each page for the next version of a row that is written at every event: such updates touch no index.
HOT = {"fillfactor": "70"}


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        bytes: LargeBinary(),
        bool: Boolean(),
        int: Integer(),
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text()),
    }


LEASE_EPOCHS = Sequence("lease_epochs", metadata=Base.metadata, data_type=BigInteger)
"""Every grant of a lease takes its next value, so epochs grow across runs, workers and restarts."""

_NOW = func.clock_timestamp()
_UUID = Uuid(as_uuid=False)


class OrganisationRow(Base):
    """A tenant. `guests`: its sessions may have members who do not belong to it otherwise. `keep_…_s`: as the hub's
    settings of these names, where it is to be shorter. The row of one that was erased is a tombstone: at `erased_at`
    nobody belonged to it any more, and since `erasure_ended_at` nothing of it is left."""

    __tablename__ = "organisations"
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    guests: Mapped[bool] = mapped_column(server_default=sql("false"))
    keep_sessions_s: Mapped[int | None] = mapped_column(BigInteger)
    keep_deleted_s: Mapped[int | None] = mapped_column(BigInteger)
    erased_at: Mapped[datetime | None]
    erasure_ended_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class OrganisationMemberRow(Base):
    __tablename__ = "organisation_members"
    org_id: Mapped[str] = mapped_column(_UUID, ForeignKey("organisations.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        _UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class UserRow(Base):
    """`name_key` is the name casefolded and normalised: two names that look alike are one. `password_hash` is null for
    users who cannot sign in with a password. A token whose `auth_version` is lower than the user's is revoked.
    `home_org_id` is where sessions they open belong; null for who is in no organisation but as a guest. The row of who
    was erased is a tombstone: at `erased_at` nobody was this user any more, and since `erasure_ended_at` nothing of
    theirs is left."""

    __tablename__ = "users"
    __table_args__ = (
        Index(
            "ix_users_erasing",
            "erased_at",
            postgresql_where=sql("erased_at IS NOT NULL AND erasure_ended_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(server_default=sql("false"))
    auth_version: Mapped[int] = mapped_column(server_default=sql("1"))
    disabled_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    erasure_ended_at: Mapped[datetime | None]
    home_org_id: Mapped[str | None] = mapped_column(_UUID, ForeignKey("organisations.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class ApiKeyRow(Base):
    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "user_id", "id"),)
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    secret_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class IdentityRow(Base):
    """What an OpenID provider calls a user: who signs in as this `subject` of this `issuer` is them."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    user_id: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    last_used_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class RefreshTokenRow(Base):
    """Tokens that were rotated out of each other share a `family`."""

    __tablename__ = "refresh_tokens"
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    family: Mapped[str] = mapped_column(_UUID, index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SessionRow(Base):
    """`last_seq` is the end of the session's log. No index on `updated_at`: it changes with every event. `forked_from`
    may name a session that is gone. `org_id` never changes."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_deleted", "deleted_at", postgresql_where=sql("deleted_at IS NOT NULL")),
        {"postgresql_with": HOT},
    )
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_UUID, ForeignKey("organisations.id"), index=True)
    title: Mapped[str]
    team: Mapped[str]
    on_busy: Mapped[str]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    created_by: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    deleted_at: Mapped[datetime | None]
    forked_from: Mapped[str | None] = mapped_column(_UUID)
    forked_at_seq: Mapped[int | None] = mapped_column(BigInteger)


class MemberRow(Base):
    __tablename__ = "members"
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        _UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class ParticipationRow(Base):
    """Who has ever been a member, kept by a trigger, and whose words a fork has copied: only there can anything of
    theirs be, also when they have left."""

    __tablename__ = "participations"
    user_id: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    session_id: Mapped[str] = mapped_column(
        _UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class InviteRow(Base):
    """A link that lets whoever has it into the session. Of its secret only the hash is here. It lets in only as long as
    who made it may: an owner who is nothing of the kind any more has no guests."""

    __tablename__ = "invites"
    __table_args__ = (Index(None, "session_id", "id"),)
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    role: Mapped[str]
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default=sql("0"))
    created_by: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    expires_at: Mapped[datetime]


class EventRow(Base):
    """The log: append-only. `data` is `json`, not `jsonb`, because it keeps the bytes; it is read as `data::text`."""

    __tablename__ = "events"
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(_UUID)
    ts: Mapped[datetime]
    data: Mapped[Any] = mapped_column(JSON)


class MessageRow(Base):
    """What users and agents said. `author_id` is a user's id or an agent's name. `client_id`, `body_hash` and
    `queued_run` (the run the message asked for first) make a repeated send give its first answer again.

    `in_state`: a committed checkpoint holds the message, so the team need not be given it. `state_seq` is the position
    of the first checkpoint that did: in the order (`state_seq`, `seq`) the team has heard the messages. It is null
    before, and where it is not known. `steers` is the run that a message was to steer, `steered` what came of it:
    null as long as it waits. `voided_seq` is the event that took the message out of the conversation; `replaces` is the
    message in whose place it stands."""

    __tablename__ = "messages"
    __table_args__ = (
        Index(None, "session_id", "seq", unique=True),
        Index("ix_messages_words", sql(WORDS), postgresql_using="gin"),
        Index("ix_messages_unseen", "session_id", "seq", postgresql_where=sql("NOT in_state")),
        Index(
            "uq_messages_client_id",
            "session_id",
            "author_id",
            "client_id",
            unique=True,
            postgresql_where=sql("client_id IS NOT NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[str | None] = mapped_column(_UUID)
    author_kind: Mapped[str]
    author_id: Mapped[str]
    author_name: Mapped[str]
    text: Mapped[str]
    parts: Mapped[list[Any]] = mapped_column(JSONB, server_default=sql("'[]'"))
    client_id: Mapped[str | None]
    body_hash: Mapped[bytes | None]
    queued_run: Mapped[str | None] = mapped_column(_UUID)
    in_state: Mapped[bool] = mapped_column(server_default=sql("false"))
    state_seq: Mapped[int | None] = mapped_column(BigInteger)
    steers: Mapped[str | None] = mapped_column(_UUID)
    steered: Mapped[str | None]
    voided_seq: Mapped[int | None] = mapped_column(BigInteger)
    replaces: Mapped[str | None] = mapped_column(_UUID)
    to_agent: Mapped[str | None]
    reasoning: Mapped[str | None]
    turn: Mapped[int | None]
    status: Mapped[str]
    prompt_tokens: Mapped[int] = mapped_column(server_default=sql("0"))
    completion_tokens: Mapped[int] = mapped_column(server_default=sql("0"))
    created_at: Mapped[datetime]


class TeamRow(Base):
    """One version of a team that was imported: its file (`source`) as it was given. Rows never change but for
    `archived_at`. `org_id` is the same in all versions; null: a team for everybody. `created_by` is null for the
    operator, and may name somebody who was erased."""

    __tablename__ = "teams"
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[str | None] = mapped_column(_UUID, ForeignKey("organisations.id"))
    source: Mapped[str]
    created_by: Mapped[str | None] = mapped_column(_UUID)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    archived_at: Mapped[datetime | None]


class AttachmentRow(Base):
    """What was uploaded to a session. A fork has a copy under the same id. `charged_to` is whose quota it counts for,
    `user_id` whose it is. `size` is what may come until `sha256` says that all is there. What no message has got
    (`sent_at`) goes after a day."""

    __tablename__ = "attachments"
    __table_args__ = (
        Index(None, "charged_to"),
        Index("ix_attachments_unsent", "created_at", postgresql_where=sql("sent_at IS NULL")),
    )
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id"))
    charged_to: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id"))
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    sent_at: Mapped[datetime | None]


class AttachmentPieceRow(Base):
    """A piece of an attachment's content."""

    __tablename__ = "attachment_pieces"
    __table_args__ = (Index(None, "session_id", "attachment_id", "number", unique=True),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    attachment_id: Mapped[str] = mapped_column(_UUID)
    number: Mapped[int]
    content: Mapped[bytes]


class RunRow(Base):
    """`cancel_reason` set means: asked to stop. `turn` is the number of finished turns. `team_version` is that of an
    imported team, from the first claim on."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("uq_runs_live", "session_id", unique=True, postgresql_where=LIVE),
        Index("ix_runs_claimable", "status", "created_at", postgresql_where=CLAIMABLE),
        Index("ix_runs_open", "requested_by", postgresql_where=OPEN),
        Index(None, "session_id", "input_seq"),
        {"postgresql_with": HOT},
    )
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    status: Mapped[str]
    team: Mapped[str]
    team_version: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default=sql("0"))
    lease_node: Mapped[str | None]
    lease_epoch: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    lease_until: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    pause_asked: Mapped[bool] = mapped_column(server_default=sql("false"))
    input_message: Mapped[str] = mapped_column(_UUID)
    input_seq: Mapped[int] = mapped_column(BigInteger)
    to_agent: Mapped[str | None]
    requested_by: Mapped[str] = mapped_column(_UUID, ForeignKey("users.id"))
    turn: Mapped[int] = mapped_column(server_default=sql("0"))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    cost_micros: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    reason: Mapped[str | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class CheckpointRow(Base):
    """An engine's state after a finished turn; `seq` is the log position it holds up to. `state` is the engine's own
    JSON text and may be large. One that is not `whole` stands in the middle of a turn, which goes on after calls: it
    serves as long as it is the newest."""

    __tablename__ = "checkpoints"
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[str] = mapped_column(_UUID)
    turn: Mapped[int]
    engine: Mapped[str]
    state: Mapped[str]
    whole: Mapped[bool] = mapped_column(server_default=sql("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class ToolCallRow(Base):
    """A call that the session's newest checkpoint awaits the result of. `slot` is its place in the engine's state;
    `call_id` is its id on the wire, which changes when it is made again."""

    __tablename__ = "tool_calls"
    __table_args__ = (Index(None, "session_id"),)
    slot: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(_UUID)
    turn: Mapped[int]
    position: Mapped[int]
    call_id: Mapped[str] = mapped_column(_UUID)
    agent: Mapped[str]
    tool: Mapped[str]
    arguments: Mapped[str]
    status: Mapped[str]
    result: Mapped[str | None]
    is_error: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class InputRequestRow(Base):
    """What a run asked people, and the answer. `arguments_sha256` is the digest of `arguments` as people saw them.
    `resolved_by` is null while it is open, and when the hub resolved it."""

    __tablename__ = "input_requests"
    __table_args__ = (
        Index(None, "session_id", "slot"),
        Index("ix_input_requests_open", "expires_at", postgresql_where=sql("resolved_at IS NULL")),
    )
    id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(_UUID, ForeignKey("runs.id", ondelete="CASCADE"))
    turn: Mapped[int]
    kind: Mapped[str]
    agent: Mapped[str]
    prompt: Mapped[str]
    call_id: Mapped[str] = mapped_column(_UUID)
    slot: Mapped[str] = mapped_column(_UUID)
    tool: Mapped[str]
    arguments: Mapped[str]
    arguments_sha256: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolved_seq: Mapped[int | None] = mapped_column(BigInteger)
    decision: Mapped[str | None]
    answer: Mapped[str | None]
    resolved_by: Mapped[str | None] = mapped_column(_UUID)
    approvers: Mapped[int] = mapped_column(server_default=sql("1"))
    not_by: Mapped[str | None] = mapped_column(_UUID)


class InputApprovalRow(Base):
    """One of several yeses that a request needs."""

    __tablename__ = "input_approvals"
    request_id: Mapped[str] = mapped_column(
        _UUID, ForeignKey("input_requests.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)


class ToolResultRow(Base):
    """The whole of a tool's result of which an event has the beginning."""

    __tablename__ = "tool_results"
    __table_args__ = (Index(None, "session_id"),)
    call_id: Mapped[str] = mapped_column(_UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    tool: Mapped[str]
    result: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class UsageRow(Base):
    """A call of a model, for accounting: it outlives the session, hence no foreign keys. What is counted by turns
    (`turns`, `tool_calls`, `duration_ms`) stands in the first row of each, which a turn without calls has, too.
    `cost_micros` is in millionths of the operator's currency."""

    __tablename__ = "usage"
    __table_args__ = (
        Index(None, "user_id", "created_at"),
        Index(None, "org_id", "created_at"),
        Index(None, "run_id"),
        Index(None, "session_id"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    session_id: Mapped[str] = mapped_column(_UUID)
    run_id: Mapped[str] = mapped_column(_UUID)
    user_id: Mapped[str] = mapped_column(_UUID)
    org_id: Mapped[str | None] = mapped_column(_UUID)
    turn: Mapped[int]
    model: Mapped[str]
    agent: Mapped[str | None]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cost_micros: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    finish: Mapped[str | None]
    error: Mapped[str | None]
    turns: Mapped[int] = mapped_column(server_default=sql("0"))
    tool_calls: Mapped[int] = mapped_column(server_default=sql("0"))
    duration_ms: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class BudgetRow(Base):
    """A limit that was set for a session (scopes `run` and `session`), a user or an organisation. Amounts are whole:
    tokens, turns, calls, millionths of the currency, milliseconds."""

    __tablename__ = "budgets"
    subject: Mapped[str] = mapped_column(_UUID, primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(_UUID)
    set_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class AuditRow(Base):
    """Who did what to whom, without content: it outlives what it is about, hence no foreign keys. A trigger lets nobody
    change it, but for taking an address away."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "object", "id"), Index(None, "actor", "id"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)
    actor: Mapped[str | None] = mapped_column(_UUID)
    action: Mapped[str]
    object: Mapped[str]
    address: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sql("'{}'"))


class CounterRow(Base):
    """Rows of the `counter` tool."""

    __tablename__ = "counters"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
