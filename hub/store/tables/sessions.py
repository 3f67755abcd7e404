"""Sessions, who may be in them, their logs and what was said."""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, BigInteger, ForeignKey, Identity, Index, event
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hub.store.tables.base import HOT, NOW, UUID, Base

# Every language alike: words are not stemmed. A text has a bound, for a tsvector has one (1 MB). A function of the
# hub's own, below, so that PostgreSQL knows its cost.
WORDS = "hub_words(text)"


class SessionRow(Base):
    """`last_seq` is the end of the session's log. No index on `updated_at`: it changes with every event. `forked_from`
    may name a session that is gone. `org_id` never changes."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_deleted", "deleted_at", postgresql_where=sql("deleted_at IS NOT NULL")),
        {"postgresql_with": HOT},
    )
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    org_id: Mapped[str] = mapped_column(UUID, ForeignKey("organisations.id"), index=True)
    title: Mapped[str]
    team: Mapped[str]
    on_busy: Mapped[str]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    created_by: Mapped[str] = mapped_column(UUID, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]
    forked_from: Mapped[str | None] = mapped_column(UUID)
    forked_at_seq: Mapped[int | None] = mapped_column(BigInteger)


class MemberRow(Base):
    __tablename__ = "members"
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ParticipationRow(Base):
    """Who has ever been a member, kept by a trigger, and whose words a fork has copied: only there can anything of
    theirs be, also when they have left."""

    __tablename__ = "participations"
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    session_id: Mapped[str] = mapped_column(
        UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class InviteRow(Base):
    """A link that lets whoever has it into the session. Of its secret only the hash is here. It lets in only as long as
    who made it may: an owner who is nothing of the kind any more has no guests."""

    __tablename__ = "invites"
    __table_args__ = (Index(None, "session_id", "id"),)
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    role: Mapped[str]
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default=sql("0"))
    created_by: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]


class EventRow(Base):
    """The log: append-only. `data` is `json`, not `jsonb`, because it keeps the bytes; it is read as `data::text`."""

    __tablename__ = "events"
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(UUID)
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
        Index(
            "ix_messages_said",
            sql(WORDS),
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": 1024},  # KiB
        ),
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
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[str | None] = mapped_column(UUID)
    author_kind: Mapped[str]
    author_id: Mapped[str]
    author_name: Mapped[str]
    text: Mapped[str]
    parts: Mapped[list[Any]] = mapped_column(JSONB, server_default=sql("'[]'"))
    client_id: Mapped[str | None]
    body_hash: Mapped[bytes | None]
    queued_run: Mapped[str | None] = mapped_column(UUID)
    in_state: Mapped[bool] = mapped_column(server_default=sql("false"))
    state_seq: Mapped[int | None] = mapped_column(BigInteger)
    steers: Mapped[str | None] = mapped_column(UUID)
    steered: Mapped[str | None]
    voided_seq: Mapped[int | None] = mapped_column(BigInteger)
    replaces: Mapped[str | None] = mapped_column(UUID)
    to_agent: Mapped[str | None]
    reasoning: Mapped[str | None]
    turn: Mapped[int | None]
    status: Mapped[str]
    prompt_tokens: Mapped[int] = mapped_column(server_default=sql("0"))
    completion_tokens: Mapped[int] = mapped_column(server_default=sql("0"))
    created_at: Mapped[datetime]


class AttachmentRow(Base):
    """What was uploaded to a session. A fork has a copy under the same id. `charged_to` is whose quota it counts for,
    `user_id` whose it is. `size` is what may come until `sha256` says that all is there. What no message has got
    (`sent_at`) goes after a day."""

    __tablename__ = "attachments"
    __table_args__ = (
        Index(None, "charged_to"),
        Index("ix_attachments_unsent", "created_at", postgresql_where=sql("sent_at IS NULL")),
    )
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id"))
    charged_to: Mapped[str] = mapped_column(UUID, ForeignKey("users.id"))
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    sent_at: Mapped[datetime | None]


class AttachmentPieceRow(Base):
    """A piece of an attachment's content."""

    __tablename__ = "attachment_pieces"
    __table_args__ = (Index(None, "session_id", "attachment_id", "number", unique=True),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    attachment_id: Mapped[str] = mapped_column(UUID)
    number: Mapped[int]
    content: Mapped[bytes]


_WORDS = """
    CREATE FUNCTION hub_words(said text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
    BEGIN
        RETURN to_tsvector('simple'::regconfig, left(said, 100000));
    END
    $$
"""
event.listen(MessageRow.__table__, "before_create", DDL(_WORDS))  # type: ignore[no-untyped-call]
