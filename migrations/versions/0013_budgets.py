"""Limits that were set for sessions, users and organisations; usage tells the organisation."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("subject", _ID, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("set_by", _ID, nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("subject", "scope", "quantity", name="pk_budgets"),
    )
    op.add_column("usage", sa.Column("org_id", _ID, nullable=True))
    op.create_index("ix_usage_org_id_created_at", "usage", ["org_id", "created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_usage_org_id_created_at", table_name="usage")
    op.drop_column("usage", "org_id")
    op.drop_table("budgets")
