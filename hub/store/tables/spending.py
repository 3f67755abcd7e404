"""What was used, and what may be."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from hub.store.tables.base import NOW, UUID, Base


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
    session_id: Mapped[str] = mapped_column(UUID)
    run_id: Mapped[str] = mapped_column(UUID)
    user_id: Mapped[str] = mapped_column(UUID)
    org_id: Mapped[str | None] = mapped_column(UUID)
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
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class BudgetRow(Base):
    """A limit that was set for a session (scopes `run` and `session`), a user or an organisation. Amounts are whole:
    tokens, turns, calls, millionths of the currency, milliseconds."""

    __tablename__ = "budgets"
    subject: Mapped[str] = mapped_column(UUID, primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(UUID)
    set_at: Mapped[datetime] = mapped_column(server_default=NOW)
