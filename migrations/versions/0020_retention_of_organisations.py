"""An organisation may keep sessions for a shorter time than the hub does."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organisations", sa.Column("keep_sessions_s", sa.BigInteger(), nullable=True))
    op.add_column("organisations", sa.Column("keep_deleted_s", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("organisations", "keep_deleted_s")
    op.drop_column("organisations", "keep_sessions_s")
