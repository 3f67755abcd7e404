"""Who there is: organisations, users, what proves who they are, and what they did."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hub.store.tables.base import NOW, UUID, Base


class OrganisationRow(Base):
    """A tenant. `guests`: its sessions may have members who do not belong to it otherwise. `keep_…_s`: as the hub's
    settings of these names, where it is to be shorter. The row of one that was erased is a tombstone: at `erased_at`
    nobody belonged to it any more, and since `erasure_ended_at` nothing of it is left."""

    __tablename__ = "organisations"
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    guests: Mapped[bool] = mapped_column(server_default=sql("false"))
    keep_sessions_s: Mapped[int | None] = mapped_column(BigInteger)
    keep_deleted_s: Mapped[int | None] = mapped_column(BigInteger)
    erased_at: Mapped[datetime | None]
    erasure_ended_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class OrganisationMemberRow(Base):
    __tablename__ = "organisation_members"
    org_id: Mapped[str] = mapped_column(UUID, ForeignKey("organisations.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


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
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(server_default=sql("false"))
    auth_version: Mapped[int] = mapped_column(server_default=sql("1"))
    disabled_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    erasure_ended_at: Mapped[datetime | None]
    home_org_id: Mapped[str | None] = mapped_column(UUID, ForeignKey("organisations.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ApiKeyRow(Base):
    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "user_id", "id"),)
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    secret_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class IdentityRow(Base):
    """What an OpenID provider calls a user: who signs in as this `subject` of this `issuer` is them."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    last_used_at: Mapped[datetime] = mapped_column(server_default=NOW)


class RefreshTokenRow(Base):
    """Tokens that were rotated out of each other share a `family`."""

    __tablename__ = "refresh_tokens"
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    family: Mapped[str] = mapped_column(UUID, index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """Who did what to whom, without content: it outlives what it is about, hence no foreign keys. A trigger lets nobody
    change it, but for taking an address away."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "object", "id"), Index(None, "actor", "id"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str | None] = mapped_column(UUID)
    action: Mapped[str]
    object: Mapped[str]
    address: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sql("'{}'"))
