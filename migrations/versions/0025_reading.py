"""Reading for somebody in one statement: whether what they have shown still holds is asked with it."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # False, and nothing is entered, when the credential has ended: with its user, with the version of the user (null: it
    # does not matter), with the sign-in or the key that it is of.
    op.execute("""
        CREATE FUNCTION hub_enter_reading(
            person uuid, session uuid, version integer, sign_in uuid, shown_key uuid
        ) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (SELECT FROM users u WHERE u.id = person AND u.disabled_at IS NULL
                    AND (version IS NULL OR u.auth_version = version))
                OR EXISTS (SELECT FROM refresh_tokens t WHERE t.family = sign_in AND t.revoked_at IS NOT NULL)
                OR EXISTS (SELECT FROM api_keys k WHERE k.id = shown_key AND k.revoked_at IS NOT NULL) THEN
                RETURN false;
            END IF;
            PERFORM hub_enter(person, NULL, session, false);
            RETURN true;
        END
        $$
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION hub_enter_reading")
