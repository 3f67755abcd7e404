"""The runs of a user that have not ended are counted."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Concurrently: nobody who writes waits for it. A try that was given up leaves an index that is no good.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_runs_open")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_runs_open ON runs (requested_by) "
            "WHERE status IN ('queued', 'running', 'waiting', 'paused')"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_runs_open")
