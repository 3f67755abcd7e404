"""What is asked of each row that a run writes is asked in plain words: a subquery is set up anew with every statement."""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# The tables of the path of a run. A statement of a run names ten of them, each with its policy; to set up their
# subqueries took PostgreSQL longer than the rows. The last question is a function for the same reason: it is set up only
# where it is asked, which is for rows of a session that the transaction does not name.
TABLES = ("events", "messages", "runs", "checkpoints", "tool_calls")

EVERYTHING = "current_setting('app.org', true) = '*'"
SESSION = "session_id = nullif(current_setting('app.session', true), '')::uuid"
SCOPE = "(SELECT hub_scope())::uuid[]"
PERSON = "(SELECT nullif(current_setting('app.person', true), '')::uuid)"

OLD_EVERYTHING = f"(SELECT {EVERYTHING})"
OLD_SESSION = "(SELECT nullif(current_setting('app.session', true), '')::uuid)"
OLD_SEEN = "(SELECT true FROM sessions s WHERE s.id = {column})"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION hub_sees(session uuid) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
        BEGIN
            RETURN EXISTS (SELECT FROM sessions WHERE id = session);
        END
        $$
    """)
    for table in TABLES:
        op.execute(f"ALTER POLICY tenant ON {table} USING ({EVERYTHING} OR {SESSION} OR hub_sees(session_id))")
    op.execute(
        f"ALTER POLICY tenant ON usage USING ({EVERYTHING} OR {SESSION} OR user_id = {PERSON} OR org_id = ANY ({SCOPE})"
        " OR hub_sees(session_id))"
    )
    op.execute(f"ALTER POLICY tenant ON sessions USING ({EVERYTHING} OR org_id = ANY ({SCOPE}))")


def downgrade() -> None:
    op.execute(f"ALTER POLICY tenant ON sessions USING ({OLD_EVERYTHING} OR org_id = ANY ({SCOPE}))")
    op.execute(
        f"ALTER POLICY tenant ON usage USING ({OLD_EVERYTHING} OR user_id = {PERSON} OR org_id = ANY ({SCOPE})"
        f" OR session_id = {OLD_SESSION} OR {OLD_SEEN.format(column='usage.session_id')})"
    )
    for table in TABLES:
        seen = OLD_SEEN.format(column=f"{table}.session_id")
        op.execute(f"ALTER POLICY tenant ON {table} USING ({OLD_EVERYTHING} OR session_id = {OLD_SESSION} OR {seen})")
    op.execute("DROP FUNCTION hub_sees")
