"""Who has ever been a member of a session; tombstones of erased users; addresses can be taken out of the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    op.create_table(
        "participations",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("session_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "session_id", name="pk_participations"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_participations_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_participations_session_id_sessions", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_participations_session_id", "participations", ["session_id"])
    # A trigger, because there are many ways into a session and none may be forgotten.
    op.execute("""
        CREATE FUNCTION note_participation() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO participations (user_id, session_id) VALUES (NEW.user_id, NEW.session_id)
            ON CONFLICT DO NOTHING;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER members_participate AFTER INSERT ON members
        FOR EACH ROW EXECUTE FUNCTION note_participation()
    """)
    op.execute("""
        INSERT INTO participations (user_id, session_id)
        SELECT user_id, session_id FROM members
        UNION SELECT u.id, m.session_id FROM messages m JOIN users u ON u.id::text = m.author_id
        WHERE m.author_kind = 'user'
        ON CONFLICT DO NOTHING
    """)
    for name in ("erased_at", "erasure_ended_at"):
        op.add_column("users", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_users_erasing",
        "users",
        ["erased_at"],
        postgresql_where=sa.text("erased_at IS NOT NULL AND erasure_ended_at IS NULL"),
    )
    op.execute("DROP TRIGGER audit_append_only ON audit")
    op.execute("""
        CREATE FUNCTION audit_keeps_all_but_addresses() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.address IS NULL AND (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.object, NEW.detail)
                IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.object, OLD.detail) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER audit_append_only BEFORE DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """)
    op.execute("""
        CREATE TRIGGER audit_keeps_all_but_addresses BEFORE UPDATE ON audit
        FOR EACH ROW EXECUTE FUNCTION audit_keeps_all_but_addresses()
    """)
    # Last, and concurrently: nobody waits for it. A try that was given up leaves an index that is no good.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_audit_actor_id")
        op.execute("CREATE INDEX CONCURRENTLY ix_audit_actor_id ON audit (actor, id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_audit_actor_id")
    op.execute("DROP TRIGGER audit_keeps_all_but_addresses ON audit")
    op.execute("DROP TRIGGER audit_append_only ON audit")
    op.execute("DROP FUNCTION audit_keeps_all_but_addresses()")
    op.execute("""
        CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """)
    op.drop_index("ix_users_erasing", table_name="users")
    for name in ("erasure_ended_at", "erased_at"):
        op.drop_column("users", name)
    op.execute("DROP TRIGGER members_participate ON members")
    op.execute("DROP FUNCTION note_participation()")
    op.drop_table("participations")
