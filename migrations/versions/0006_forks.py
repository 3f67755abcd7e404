"""Sessions know which session they were forked from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("forked_from", sa.Uuid(as_uuid=False), nullable=True))
    op.add_column("sessions", sa.Column("forked_at_seq", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "forked_at_seq")
    op.drop_column("sessions", "forked_from")
