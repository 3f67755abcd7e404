"""What is open is known by its end that is missing, and found in the session that it is of."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# Its status would say it as well, and so it does where somebody's runs are counted: as long as PostgreSQL has no
# statistics it takes any index whose condition follows from that of a statement for as good as the one that is meant.
BY_END = "r.finished_at IS NULL"
BY_STATUS = "r.status IN ('queued', 'running', 'waiting', 'paused')"

SEND = """
    CREATE OR REPLACE FUNCTION hub_send(
        person uuid, session uuid, roles text[], policy text, patient text[], limited text[], most_runs integer,
        message uuid, run uuid, person_name text, said text, said_parts jsonb, client text, hash bytea, head text
    ) RETURNS TABLE (before_seq bigint, sent_at timestamptz, steered_run uuid) LANGUAGE plpgsql AS $$
    DECLARE
        seen record;
    BEGIN
        PERFORM hub_enter(person, NULL, session, true);
        SELECT s.team, s.last_seq, m.role, coalesce(policy, s.on_busy) AS policy,
            EXISTS (SELECT FROM budgets b WHERE b.subject IN (session, person, s.org_id)) AS budgeted,
            (SELECT r.id FROM runs r WHERE r.session_id = session AND IS_OPEN
                ORDER BY (r.status = 'queued'), r.input_seq LIMIT 1) AS busy
        INTO seen
        FROM sessions s JOIN members m ON m.session_id = s.id AND m.user_id = person
        WHERE s.id = session AND s.deleted_at IS NULL;
        IF NOT FOUND OR seen.role <> ALL (roles)
            OR (seen.busy IS NOT NULL AND seen.policy <> ALL (patient)) THEN
            RETURN;
        END IF;
        IF seen.policy = 'steer' THEN
            steered_run := seen.busy;
        END IF;
        IF steered_run IS NULL AND (seen.budgeted OR seen.team = ANY (limited)) THEN
            RETURN;
        END IF;
        IF steered_run IS NULL AND most_runs IS NOT NULL THEN
            IF most_runs <= (SELECT count(*) FROM (
                    SELECT FROM runs r WHERE r.requested_by = person
                    AND r.status IN ('queued', 'running', 'waiting', 'paused') LIMIT most_runs) AS few) THEN
                RETURN;
            END IF;
        END IF;
        before_seq := seen.last_seq;
        sent_at := clock_timestamp();
        -- The index finds a client_id that was used before, however long the session is.
        INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, parts, client_id,
                              body_hash, queued_run, steers, status, created_at)
        VALUES (message, session, before_seq + 1, 'user', person::text, person_name, said, said_parts, client, hash,
                CASE WHEN steered_run IS NULL THEN run END, steered_run, 'complete', sent_at)
        ON CONFLICT (session_id, author_id, client_id) WHERE client_id IS NOT NULL DO NOTHING;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        UPDATE sessions SET last_seq = before_seq + CASE WHEN steered_run IS NULL THEN 2 ELSE 1 END,
            updated_at = sent_at
        WHERE id = session;
        IF steered_run IS NULL THEN
            INSERT INTO events (session_id, seq, type, run_id, ts, data) VALUES
                (session, before_seq + 1, 'message.created', NULL, sent_at, (head || '}')::json),
                (session, before_seq + 2, 'run.queued', run, sent_at,
                    format('{"input_seq":%s}', before_seq + 1)::json);
            INSERT INTO runs (id, session_id, status, team, input_message, input_seq, requested_by, created_at)
            VALUES (run, session, 'queued', seen.team, message, before_seq + 1, person, sent_at);
        ELSE
            INSERT INTO events (session_id, seq, type, ts, data) VALUES
                (session, before_seq + 1, 'message.created', sent_at,
                    format('%s,"steers":"%s"}', head, steered_run)::json);
        END IF;
        RETURN NEXT;
    END
    $$
"""


def upgrade() -> None:
    # Concurrently: nobody who writes waits for it. A try that was given up leaves an index that is no good.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_runs_queue")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_runs_queue ON runs (session_id, input_seq) WHERE finished_at IS NULL"
        )
    op.execute(SEND.replace("IS_OPEN", BY_END))


def downgrade() -> None:
    op.execute(SEND.replace("IS_OPEN", BY_STATUS))
    op.execute("DROP INDEX ix_runs_queue")
