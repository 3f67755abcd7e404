"""Organisations that were erased: their rows stay as tombstones."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organisations", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("organisations", sa.Column("erasure_ended_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("organisations", "erasure_ended_at")
    op.drop_column("organisations", "erased_at")
