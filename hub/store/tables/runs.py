"""Teams, their runs, and what runs wait for."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Sequence
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hub.store.tables.base import HOT, NOW, UUID, Base

LIVE = sql("status IN ('running', 'waiting', 'paused')")
CLAIMABLE = sql("status IN ('queued', 'running')")
STOPPING = sql("status = 'running' AND cancel_reason IS NOT NULL")
OPEN = sql("status IN ('queued', 'running', 'waiting', 'paused')")
NOT_FINISHED = sql("finished_at IS NULL")  # the same; a statement gets the index whose words it uses

LEASE_EPOCHS = Sequence("lease_epochs", metadata=Base.metadata, data_type=BigInteger)
"""Every grant of a lease takes its next value, so epochs grow across runs, workers and restarts."""


class TeamRow(Base):
    """One version of a team that was imported: its file (`source`) as it was given. Rows never change but for
    `archived_at`. `org_id` is the same in all versions; null: a team for everybody. `created_by` is null for the
    operator, and may name somebody who was erased."""

    __tablename__ = "teams"
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[str | None] = mapped_column(UUID, ForeignKey("organisations.id"))
    source: Mapped[str]
    created_by: Mapped[str | None] = mapped_column(UUID)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    archived_at: Mapped[datetime | None]


class RunRow(Base):
    """`cancel_reason` set means: asked to stop. `finished_at` is there when the status is one of the last. `turn` is
    the number of finished turns. `team_version` is that of an imported team, from the first claim on."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("uq_runs_live", "session_id", unique=True, postgresql_where=LIVE),
        Index("ix_runs_claimable", "status", "created_at", postgresql_where=CLAIMABLE),
        Index("ix_runs_stopping", "lease_epoch", postgresql_where=STOPPING),
        Index("ix_runs_open", "requested_by", postgresql_where=OPEN),
        Index("ix_runs_queue", "session_id", "input_seq", postgresql_where=NOT_FINISHED),
        Index(None, "session_id", "input_seq"),
        {"postgresql_with": HOT},
    )
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    status: Mapped[str]
    team: Mapped[str]
    team_version: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default=sql("0"))
    lease_node: Mapped[str | None]
    lease_epoch: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    lease_until: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    pause_asked: Mapped[bool] = mapped_column(server_default=sql("false"))
    input_message: Mapped[str] = mapped_column(UUID)
    input_seq: Mapped[int] = mapped_column(BigInteger)
    to_agent: Mapped[str | None]
    requested_by: Mapped[str] = mapped_column(UUID, ForeignKey("users.id"))
    turn: Mapped[int] = mapped_column(server_default=sql("0"))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    cost_micros: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    reason: Mapped[str | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class CheckpointRow(Base):
    """An engine's state after a finished turn; `seq` is the log position it holds up to. `state` is the engine's own
    JSON text and may be large: it is not compressed, which takes five times as long as writing it. One that is not
    `whole` stands in the middle of a turn, which goes on after calls: it serves as long as it is the newest."""

    __tablename__ = "checkpoints"
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[str] = mapped_column(UUID)
    turn: Mapped[int]
    engine: Mapped[str]
    state: Mapped[str]
    whole: Mapped[bool] = mapped_column(server_default=sql("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ToolCallRow(Base):
    """A call that the session's newest checkpoint awaits the result of. `slot` is its place in the engine's state;
    `call_id` is its id on the wire, which changes when it is made again."""

    __tablename__ = "tool_calls"
    __table_args__ = (Index(None, "session_id"),)
    slot: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(UUID)
    turn: Mapped[int]
    position: Mapped[int]
    call_id: Mapped[str] = mapped_column(UUID)
    agent: Mapped[str]
    tool: Mapped[str]
    arguments: Mapped[str]
    status: Mapped[str]
    result: Mapped[str | None]
    is_error: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ToolResultRow(Base):
    """The whole of a tool's result of which an event has the beginning."""

    __tablename__ = "tool_results"
    __table_args__ = (Index(None, "session_id"),)
    call_id: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    tool: Mapped[str]
    result: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class InputRequestRow(Base):
    """What a run asked people, and the answer. `arguments_sha256` is the digest of `arguments` as people saw them.
    `resolved_by` is null while it is open, and when the hub resolved it."""

    __tablename__ = "input_requests"
    __table_args__ = (
        Index(None, "session_id", "slot"),
        Index("ix_input_requests_open", "expires_at", postgresql_where=sql("resolved_at IS NULL")),
    )
    id: Mapped[str] = mapped_column(UUID, primary_key=True)
    session_id: Mapped[str] = mapped_column(UUID, ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str] = mapped_column(UUID, ForeignKey("runs.id", ondelete="CASCADE"))
    turn: Mapped[int]
    kind: Mapped[str]
    agent: Mapped[str]
    prompt: Mapped[str]
    call_id: Mapped[str] = mapped_column(UUID)
    slot: Mapped[str] = mapped_column(UUID)
    tool: Mapped[str]
    arguments: Mapped[str]
    arguments_sha256: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolved_seq: Mapped[int | None] = mapped_column(BigInteger)
    decision: Mapped[str | None]
    answer: Mapped[str | None]
    resolved_by: Mapped[str | None] = mapped_column(UUID)
    approvers: Mapped[int] = mapped_column(server_default=sql("1"))
    not_by: Mapped[str | None] = mapped_column(UUID)


class InputApprovalRow(Base):
    """One of several yeses that a request needs."""

    __tablename__ = "input_approvals"
    request_id: Mapped[str] = mapped_column(UUID, ForeignKey("input_requests.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(UUID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)


class CounterRow(Base):
    """Rows of the `counter` tool."""

    __tablename__ = "counters"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
