"""The index of search keeps no statistics: to gather them PostgreSQL took 30,000 texts apart, time and again."""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # ANALYZE computes what an index is made of for its sample: of 30,000 messages of 250 characters it took 0.67 s of
    # processor time, 0.13 without, and more for longer ones; and it runs again whenever a tenth of them is new. Search
    # takes its plan from what `hub_words` costs (0026), not from how often a word is said.
    op.execute("ALTER INDEX ix_messages_said ALTER COLUMN 1 SET STATISTICS 0")


def downgrade() -> None:
    op.execute("ALTER INDEX ix_messages_said ALTER COLUMN 1 SET STATISTICS -1")
