"""Results of tool calls that are too large for an event."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_results",
        sa.Column("call_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("session_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_tool_results_session_id_sessions", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("call_id", name="pk_tool_results"),
    )
    op.create_index("ix_tool_results_session_id", "tool_results", ["session_id"], unique=False)


def downgrade() -> None:
    op.drop_table("tool_results")
