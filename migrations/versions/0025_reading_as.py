"""Who reads in a session is told with what they read what they are there, and reads nothing when they are nothing."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `holds`: the credential has not ended, with its user, with the version of the user (null: it does not matter), with
    # the sign-in or the key that it is of; else nothing is entered. `sees`: what is read is about no session, or one
    # that the person is in.
    op.execute("""
        CREATE FUNCTION hub_read_as(
            person uuid, session uuid, version integer, sign_in uuid, shown_key uuid,
            OUT holds boolean, OUT sees boolean, OUT seen_role text, OUT seen_seq bigint
        ) LANGUAGE plpgsql AS $$
        BEGIN
            holds := EXISTS (SELECT FROM users u WHERE u.id = person AND u.disabled_at IS NULL
                    AND (version IS NULL OR u.auth_version = version))
                AND NOT EXISTS (SELECT FROM refresh_tokens t WHERE t.family = sign_in AND t.revoked_at IS NOT NULL)
                AND NOT EXISTS (SELECT FROM api_keys k WHERE k.id = shown_key AND k.revoked_at IS NOT NULL);
            sees := false;
            IF NOT holds THEN
                RETURN;
            END IF;
            PERFORM hub_enter(person, NULL, session, false);
            IF session IS NOT NULL THEN
                SELECT m.role, s.last_seq INTO seen_role, seen_seq
                FROM sessions s JOIN members m ON m.session_id = s.id AND m.user_id = person
                WHERE s.id = session AND s.deleted_at IS NULL;
            END IF;
            sees := session IS NULL OR seen_role IS NOT NULL;
        END
        $$
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION hub_read_as")
