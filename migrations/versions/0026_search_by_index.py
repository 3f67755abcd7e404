"""Search looks into its index first: PostgreSQL is told what it costs to take a text apart."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_HEAD = """
    CREATE OR REPLACE FUNCTION hub_find_messages(
        person uuid, query text, before timestamptz, before_id uuid, most integer
    ) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
"""


def upgrade() -> None:
    # PostgreSQL takes `to_tsvector` for cheap and would rather take apart every message of somebody's sessions (25 us
    # each) than use the index. A function of SQL would be unfolded, and its cost with it.
    op.execute("""
        CREATE FUNCTION hub_words(said text) RETURNS tsvector
        LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
        BEGIN
            RETURN to_tsvector('simple'::regconfig, left(said, 100000));
        END
        $$
    """)
    # What is not yet sorted into the index is read by every search, and sorted in by whoever writes when it is too much:
    # by default 4 MB, a tenth of a second.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_messages_said")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_messages_said ON messages USING gin (hub_words(text)) "
            "WITH (gin_pending_list_limit = 1024)"
        )
    # Each index is looked into once, however many sessions somebody is in: with a join it may be once for each.
    op.execute(f"""{_HEAD}
            SELECT m.id FROM messages m
            WHERE m.session_id = ANY (ARRAY(
                    SELECT w.session_id FROM members w
                    JOIN sessions o ON o.id = w.session_id AND o.deleted_at IS NULL
                    WHERE w.user_id = person
                      AND (current_setting('app.org', true) = '*' OR o.org_id = ANY (hub_scope()))))
              AND hub_words(m.text) @@ websearch_to_tsquery('simple', query)
              AND m.voided_seq IS NULL
              AND (before IS NULL OR (m.created_at, m.id) < (before, before_id))
            ORDER BY m.created_at DESC, m.id DESC LIMIT most
        $$
    """)
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_messages_words")


def downgrade() -> None:
    op.execute(
        "CREATE INDEX ix_messages_words ON messages USING gin (to_tsvector('simple'::regconfig, left(text, 100000)))"
    )
    op.execute(f"""{_HEAD}
            SELECT m.id FROM messages m
            JOIN members w ON w.session_id = m.session_id AND w.user_id = person
            JOIN sessions o ON o.id = m.session_id AND o.deleted_at IS NULL
            WHERE to_tsvector('simple'::regconfig, left(m.text, 100000)) @@ websearch_to_tsquery('simple', query)
              AND m.voided_seq IS NULL
              AND (current_setting('app.org', true) = '*' OR o.org_id = ANY (hub_scope()))
              AND (before IS NULL OR (m.created_at, m.id) < (before, before_id))
            ORDER BY m.created_at DESC, m.id DESC LIMIT most
        $$
    """)
    op.execute("DROP INDEX ix_messages_said")
    op.execute("DROP FUNCTION hub_words")
