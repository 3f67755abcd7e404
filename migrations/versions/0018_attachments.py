"""What people send beside their words: attachments of sessions, and their content in pieces."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "attachments",
        sa.Column("session_id", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("charged_to", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_attachments_session_id_sessions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_attachments_user_id_users"),
        sa.ForeignKeyConstraint(["charged_to"], ["users.id"], name="fk_attachments_charged_to_users"),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_attachments"),
    )
    op.create_index("ix_attachments_charged_to", "attachments", ["charged_to"])
    op.create_index(
        "ix_attachments_unsent", "attachments", ["created_at"], postgresql_where=sa.text("sent_at IS NULL")
    )
    op.create_table(
        "attachment_pieces",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("session_id", _ID, nullable=False),
        sa.Column("attachment_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_attachment_pieces_session_id_sessions", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_attachment_pieces"),
    )
    op.create_index(
        "ix_attachment_pieces_session_id_attachment_id_number",
        "attachment_pieces",
        ["session_id", "attachment_id", "number"],
        unique=True,
    )
    # Pictures do not get smaller.
    op.execute("ALTER TABLE attachment_pieces ALTER COLUMN content SET STORAGE EXTERNAL")
    for table in ("attachments", "attachment_pieces"):
        op.execute(f"""
            CREATE POLICY tenant ON {table} USING (
                (SELECT current_setting('app.org', true) = '*')
                OR session_id = (SELECT nullif(current_setting('app.session', true), '')::uuid)
                OR (SELECT true FROM sessions s WHERE s.id = {table}.session_id))
        """)
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("attachment_pieces")
    op.drop_table("attachments")
