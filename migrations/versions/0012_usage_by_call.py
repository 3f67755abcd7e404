"""Usage by calls of models, with what they cost; turns, tool calls and time beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("agent", "finish", "error"):
        op.add_column("usage", sa.Column(name, sa.Text(), nullable=True))
    for name in ("cost_micros", "duration_ms"):
        op.add_column("usage", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    # Rows from before are one a turn.
    op.add_column("usage", sa.Column("turns", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.alter_column("usage", "turns", server_default=sa.text("0"))
    op.add_column("usage", sa.Column("tool_calls", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index("ix_usage_session_id", "usage", ["session_id"], unique=False)
    op.add_column("runs", sa.Column("cost_micros", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.drop_column("runs", "cost_micros")
    op.drop_index("ix_usage_session_id", table_name="usage")
    for name in ("tool_calls", "turns", "duration_ms", "cost_micros", "error", "finish", "agent"):
        op.drop_column("usage", name)
