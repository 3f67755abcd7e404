"""Runs that are to stop have an index of their own: every worker asks for them every second."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_runs_stopping")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_runs_stopping ON runs (lease_epoch) "
            "WHERE status = 'running' AND cancel_reason IS NOT NULL"
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_runs_stopping")
