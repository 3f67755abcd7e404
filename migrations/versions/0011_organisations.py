"""Organisations; everybody and every session there is belongs to the first one."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FIRST = "00000000-0000-7000-8000-000000000000"
_ID = sa.Uuid(as_uuid=False)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("guests", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
        sa.UniqueConstraint("name_key", name="uq_organisations_name_key"),
    )
    op.create_table(
        "organisation_members",
        sa.Column("org_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "user_id", name="pk_organisation_members"),
        sa.ForeignKeyConstraint(
            ["org_id"], ["organisations.id"], name="fk_organisation_members_org_id_organisations", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_organisation_members_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_organisation_members_user_id", "organisation_members", ["user_id"])
    op.execute(f"INSERT INTO organisations (id, name, name_key) VALUES ('{FIRST}', 'default', 'default')")
    op.execute(
        "INSERT INTO organisation_members (org_id, user_id, role) "
        f"SELECT '{FIRST}', id, 'member' FROM users"  # noqa: S608 - a constant
    )
    # A constant default is written into no row, so it takes no time however many there are; and it is taken away,
    # because who forgets to say whose a session is must not give it to the first organisation.
    first = sa.text(f"'{FIRST}'::uuid")
    op.add_column("users", sa.Column("home_org_id", _ID, server_default=first, nullable=True))
    op.alter_column("users", "home_org_id", server_default=None)
    op.create_foreign_key("fk_users_home_org_id_organisations", "users", "organisations", ["home_org_id"], ["id"])
    op.add_column("sessions", sa.Column("org_id", _ID, server_default=first, nullable=False))
    op.alter_column("sessions", "org_id", server_default=None)
    op.create_foreign_key("fk_sessions_org_id_organisations", "sessions", "organisations", ["org_id"], ["id"])
    op.create_index("ix_sessions_org_id", "sessions", ["org_id"])


def downgrade() -> None:
    op.drop_column("sessions", "org_id")
    op.drop_column("users", "home_org_id")
    op.drop_table("organisation_members")
    op.drop_table("organisations")
