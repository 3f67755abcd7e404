"""The two roles of the hub in PostgreSQL: the owner of the schema, who migrates, and the application, whom the policies
of the tables bind (`migrations`, row-level security)."""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

import asyncpg
from sqlalchemy import make_url, text

from hub.domain.errors import Conflict
from hub.store.database import Store, driver_url

APPLICATION = "agent_hub"
"""What the application is called in a PostgreSQL of our own."""
SCRAM_ITERATIONS = 4096  # as PostgreSQL itself

_KNOWN = text("SELECT true FROM pg_roles WHERE rolname = :role")

# The statements take no parameters. `format` quotes; the second argument is the schema of the tables.
_GRANTS = text("""
    SELECT format(statement, CAST(:role AS text), quote_ident(current_schema())) FROM unnest(ARRAY[
        'GRANT USAGE ON SCHEMA %2$s TO %1$I',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %2$s TO %1$I',
        'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %2$s TO %1$I',
        'REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM %1$I',
        'GRANT EXECUTE ON FUNCTION hub_find_messages TO %1$I'
    ]) AS statement
""")

_CREATE = text("""
    SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD %L',
                  CAST(:role AS text), CAST(:verifier AS text))
""")

_WALL = text("""
    SELECT current_user::text AS role, r.rolsuper OR r.rolbypassrls AS passes,
           EXISTS (SELECT FROM pg_class c
                   WHERE c.relname = 'sessions' AND c.relnamespace = to_regnamespace(current_schema())
                   AND pg_has_role(c.relowner, 'MEMBER')) AS owns,
           (SELECT r.rolsuper OR r.rolbypassrls FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
            WHERE p.proname = 'hub_find_messages' AND p.pronamespace = to_regnamespace(current_schema())) AS finds
    FROM pg_roles r WHERE r.rolname = current_user
""")


@dataclass(frozen=True, slots=True)
class Wall:
    """How far the policies bind the role that the hub works by. `passes`: not at all; `owns`: it could take them away;
    `finds`: searching uses its index."""

    role: str
    passes: bool
    owns: bool
    finds: bool


async def let_in(store: Store, application: str) -> None:
    """Give the role of this URL what the application needs. When there is no such role it is made, with the URL's
    password. `store` is connected as the owner. Raises ValueError for a URL without a role, and `Conflict` when the
    owner may not do that."""
    url = driver_url(application)
    if url.username is None:
        raise ValueError("the URL of the application names no role")
    role, password = url.username, url.password
    try:
        async with store.transaction() as db:
            if (await db.execute(_KNOWN, {"role": role})).scalar_one_or_none() is None:
                verifier = scram_verifier(str(password), os.urandom(16)) if password is not None else None
                made = await db.execute(_CREATE, {"role": role, "verifier": verifier})
                await db.connection.execute(made.scalar_one())
            for statement in (await db.execute(_GRANTS, {"role": role})).scalars():
                await db.connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as e:
        raise Conflict(f"the owner of the schema cannot let {role} in: {e}") from e


async def wall(store: Store) -> Wall:
    """What binds the role of this store."""
    async with store.transaction() as db:
        row = (await db.execute(_WALL)).one()
    return Wall(row.role, row.passes, row.owns and not row.passes, bool(row.finds))


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): so the password itself is in no statement and no log of it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    keys = (hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))
    stored, server = (base64.b64encode(key).decode() for key in keys)
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{base64.b64encode(salt).decode()}${stored}:{server}"


def as_role(dsn: str, role: str) -> str:
    """The same database, by another role that needs no password."""
    return make_url(dsn).set(username=role).render_as_string(hide_password=False)
