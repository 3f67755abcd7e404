"""Row-level security: who asks for a person sees the rows of that person's organisations, whatever the query says.

`app.org` says whose rows are seen: ids of organisations, `*` for the hub's own work, nothing when it is not set.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Asked once per statement, not per row: hence the subqueries.
EVERYTHING = "(SELECT current_setting('app.org', true) = '*')"
SCOPE = "(SELECT hub_scope())::uuid[]"
PERSON = "(SELECT nullif(current_setting('app.person', true), '')::uuid)"
SESSION = "(SELECT nullif(current_setting('app.session', true), '')::uuid)"

OF_SESSIONS = (
    "members",
    "participations",
    "invites",
    "events",
    "messages",
    "runs",
    "checkpoints",
    "tool_calls",
    "input_requests",
    "tool_results",
)
# Most transactions are about one session, which was looked at when they began. For others a scalar subquery: one look
# into an index for each row, while EXISTS may be planned as a scan of all sessions.
SESSION_SEEN = f"session_id = {SESSION} OR (SELECT true FROM sessions s WHERE s.id = {{table}}.session_id)"

SEEN = {
    "organisations": f"id = ANY ({SCOPE})",
    "organisation_members": f"org_id = ANY ({SCOPE}) OR user_id = {PERSON}",
    "sessions": f"org_id = ANY ({SCOPE})",
    **{table: SESSION_SEEN.format(table=table) for table in OF_SESSIONS},
    "input_approvals": "(SELECT true FROM input_requests r WHERE r.id = input_approvals.request_id)",
    # They outlive their sessions.
    "usage": f"user_id = {PERSON} OR org_id = ANY ({SCOPE}) OR {SESSION_SEEN.format(table='usage')}",
    "budgets": f"subject = {SESSION} OR subject = {PERSON} OR subject = ANY ({SCOPE})"
    " OR (SELECT true FROM sessions s WHERE s.id = budgets.subject)",
}


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION hub_scope() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT string_to_array(nullif(current_setting('app.org', true), '*'), ',')::uuid[]
        $$
    """)
    # For the rest of the transaction. `also` is an organisation that something else than a membership opens; `session` is
    # what the transaction is about, if it is seen; with `lock` its row is locked, if it is there.
    op.execute("""
        CREATE FUNCTION hub_enter(person uuid, also uuid, session uuid, lock boolean) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM set_config('app.person', person::text, true);
            PERFORM set_config('app.org', concat_ws(',', also::text, (
                SELECT string_agg(org_id::text, ',') FROM organisation_members WHERE user_id = person)), true);
            IF session IS NULL THEN
                RETURN;
            END IF;
            IF lock THEN
                PERFORM FROM sessions WHERE id = session AND deleted_at IS NULL FOR NO KEY UPDATE;
            ELSE
                PERFORM FROM sessions WHERE id = session;
            END IF;
            IF FOUND THEN
                PERFORM set_config('app.session', session::text, true);
            END IF;
        END
        $$
    """)
    # PostgreSQL uses no index for `@@` behind a policy, because the operator might tell what it sees. This looks for the
    # words with its owner's rights, checks by itself who may see what, and gives ids, whose rows are behind the policy.
    op.execute("""
        CREATE FUNCTION hub_find_messages(
            person uuid, query text, before timestamptz, before_id uuid, most integer
        ) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
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
    op.execute("REVOKE ALL ON FUNCTION hub_find_messages FROM PUBLIC")
    for table, seen in SEEN.items():
        op.execute(f"CREATE POLICY tenant ON {table} USING ({EVERYTHING} OR {seen})")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in SEEN:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY tenant ON {table}")
    op.execute("DROP FUNCTION hub_find_messages")
    op.execute("DROP FUNCTION hub_enter")
    op.execute("DROP FUNCTION hub_scope")
