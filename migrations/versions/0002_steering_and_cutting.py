"""Messages know which run they steer, where the team has taken them in, and what voids or replaces them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = {
    "steers": sa.Uuid(as_uuid=False),
    "steered": sa.Text(),
    "state_seq": sa.BigInteger(),
    "voided_seq": sa.BigInteger(),
    "replaces": sa.Uuid(as_uuid=False),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("messages", sa.Column(name, kind, nullable=True))
    # The event that voided it comes after the message; which one it was is not known any more.
    op.execute("UPDATE messages SET voided_seq = seq + 1 WHERE status = 'superseded'")


def downgrade() -> None:
    op.execute("UPDATE messages SET status = 'superseded' WHERE voided_seq IS NOT NULL")
    for name in COLUMNS:
        op.drop_column("messages", name)
