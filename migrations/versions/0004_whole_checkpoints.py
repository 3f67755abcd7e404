"""Checkpoints know whether they stand in the middle of a turn."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("whole", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    # The newest one of a session that awaits calls stands in the middle of a turn.
    op.execute("""
        UPDATE checkpoints c SET whole = false
        WHERE EXISTS (SELECT FROM tool_calls t WHERE t.session_id = c.session_id)
          AND NOT EXISTS (SELECT FROM checkpoints n WHERE n.session_id = c.session_id AND n.seq > c.seq)
    """)


def downgrade() -> None:
    op.drop_column("checkpoints", "whole")
