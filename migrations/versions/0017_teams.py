"""Teams that are imported while the hub runs, in versions, and the version that a run has."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("org_id", _ID, nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_by", _ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_teams_org_id_organisations"),
        sa.PrimaryKeyConstraint("name", "version", name="pk_teams"),
    )
    # Teams for everybody are read by the hub's own work only, like everything else of no organisation.
    op.execute("""
        CREATE POLICY tenant ON teams USING (
            (SELECT current_setting('app.org', true) = '*') OR org_id = ANY ((SELECT hub_scope())::uuid[]))
    """)
    op.execute("ALTER TABLE teams ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE teams FORCE ROW LEVEL SECURITY")
    op.add_column("runs", sa.Column("team_version", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "team_version")
    op.drop_table("teams")
