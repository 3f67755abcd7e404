"""Checkpoints are kept as they are: to compress them took longer than all else that a turn writes."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # For what is written from now on; the newest few of a session replace the older ones.
    op.execute("ALTER TABLE checkpoints ALTER COLUMN state SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("ALTER TABLE checkpoints ALTER COLUMN state SET STORAGE EXTENDED")
