"""Words of messages are indexed, for search."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Concurrently: nobody who writes messages waits for it. A try that was given up leaves an index that is no good.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_messages_words")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_messages_words ON messages "
            "USING gin (to_tsvector('simple'::regconfig, left(text, 100000)))"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_messages_words")
