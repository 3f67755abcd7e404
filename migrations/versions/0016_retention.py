"""Deleted sessions are found by when they were deleted."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Concurrently: nobody who writes waits for it. A try that was given up leaves an index that is no good.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_sessions_deleted")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_sessions_deleted ON sessions (deleted_at) WHERE deleted_at IS NOT NULL"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_sessions_deleted")
