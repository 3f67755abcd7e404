"""Requests that several people have to approve."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("input_requests", sa.Column("approvers", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("input_requests", sa.Column("not_by", sa.Uuid(as_uuid=False), nullable=True))
    op.create_table(
        "input_approvals",
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["input_requests.id"],
            name="fk_input_approvals_request_id_input_requests",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", "user_id", name="pk_input_approvals"),
    )


def downgrade() -> None:
    op.drop_table("input_approvals")
    op.drop_column("input_requests", "not_by")
    op.drop_column("input_requests", "approvers")
