"""The second wall: as the application's role, the database shows and changes nothing of another organisation, whatever
the statement. Rows are made for every table there is, so a new one is tried by itself."""

import ast
import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSON, JSONB

import hub.sessions
from hub.domain.errors import Unauthenticated
from hub.domain.ids import MessageId, OrganisationId, RunId, SessionId, UserId, new_id
from hub.domain.principal import Principal
from hub.domain.session import Role
from hub.store import organisations, roles, sending, users
from hub.store.database import Store
from hub.store.organisations import NewOrganisation
from hub.store.sending import NewMessage
from hub.store.tables import Base
from tests.store.conftest import make_session

# What belongs to no organisation. Accounts are the hub's: one may belong to several organisations.
GLOBAL = {"users", "api_keys", "refresh_tokens", "identities", "audit", "counters"}
TABLES = [table for table in Base.metadata.sorted_tables if table.name not in GLOBAL]

_numbers = itertools.count(1)
_COUNT = text("SELECT count(*) FROM sessions")


class Tenant:
    """An organisation with a person and a session, and a row in every table."""

    def __init__(self, org: OrganisationId, person: UserId, session: SessionId) -> None:
        self.org, self.person, self.session = org, person, session
        self.known: dict[str, object] = {"organisations": org, "users": person, "sessions": session}

    def row(self, table: Table) -> dict[str, object]:
        """A row of this tenant's, with everything that must be there."""
        return {
            column.name: self._value(column)
            for column in table.columns
            if column.identity is None
            and (column.primary_key or column.name == "org_id" or not (column.nullable or column.server_default))
        }

    def _value(self, column: Column[Any]) -> object:
        for key in column.foreign_keys:
            return self.known[key.column.table.name]
        match column.name:  # of what outlives them
            case "session_id" | "subject":
                return self.session
            case "user_id":
                return self.person
            case "org_id":
                return self.org
        match column.type:
            case Uuid():
                return new_id()
            case BigInteger() | Integer():
                return next(_numbers)
            case Boolean():
                return False
            case DateTime():
                return text("clock_timestamp()")
            case LargeBinary():
                return new_id().encode()
            case JSON() | JSONB():
                return text("'{}'")
            case ARRAY():
                return text("'{}'")
            case Text():
                return new_id()
            case other:
                raise AssertionError(f"{column}: say in this test what a value of {other!r} is")


def insert(table: Table, row: dict[str, object]) -> tuple[str, list[object]]:
    """The statement, and its values."""
    written: list[str] = []
    values: list[object] = []
    for name, value in row.items():
        if isinstance(value, str | bytes | int):
            values.append(value)
            kind = table.columns[name].type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
            written.append(f"${len(values)}" if isinstance(value, bytes | int) else f"${len(values)}::text::{kind}")
        else:
            written.append(str(value))
    columns = ", ".join(f'"{name}"' for name in row)
    return f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join(written)})", values


async def tenant(dsn: str, store: Store) -> Tenant:
    person, org = UserId(new_id()), OrganisationId(new_id())
    async with store.transaction() as db:
        await organisations.create(db, NewOrganisation(org, f"org {org}"))
        await users.create(db, id=person, name=f"user {person}", password_hash=None, is_admin=False, org=org)
        made = Tenant(org, person, await make_session(db, person))
    owner = await asyncpg.connect(dsn)
    for table in TABLES:
        if table.name in ("organisations", "organisation_members", "sessions", "members", "participations"):
            continue
        row = made.row(table)
        statement, values = insert(table, row)
        await owner.execute(statement, *values)
        if "id" in row:
            made.known[table.name] = row["id"]
    await owner.close()
    return made


@pytest.fixture
async def ours(dsn: str, store: Store) -> Tenant:
    return await tenant(dsn, store)


@pytest.fixture
async def theirs(dsn: str, store: Store) -> Tenant:
    return await tenant(dsn, store)


@pytest.fixture
async def application(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The role the hub works by, on a connection of its own that nobody has told anything."""
    connection = await asyncpg.connect(roles.as_role(dsn, roles.APPLICATION))
    yield connection
    await connection.close()


async def count(connection: "asyncpg.Connection[asyncpg.Record]", table: Table) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {table.name}")
    return found


async def test_every_table_belongs_to_organisations_or_is_known_not_to(dsn: str) -> None:
    owner = await asyncpg.connect(dsn)
    rows = await owner.fetch("""
        SELECT relname, relrowsecurity AND relforcerowsecurity AS walled,
               EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AS has_policy
        FROM pg_class c WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    """)
    await owner.close()
    walls = {row["relname"]: (row["walled"], row["has_policy"]) for row in rows}
    assert walls.pop("alembic_version") == (False, False)
    assert walls == {t.name: (t.name not in GLOBAL,) * 2 for t in Base.metadata.sorted_tables}, (
        "a table of an organisation's needs its policy: see the migration of row-level security"
    )
    for name in GLOBAL:
        assert not {"session_id", "org_id"} & set(Base.metadata.tables[name].columns.keys()), name


async def test_the_application_is_neither_owner_nor_above_the_policies(dsn: str) -> None:
    store = Store(roles.as_role(dsn, roles.APPLICATION), pool_size=1)
    assert await roles.wall(store) == roles.Wall(roles.APPLICATION, passes=False, owns=False, finds=True)
    await store.close()
    owner = Store(dsn, pool_size=1)
    assert (await roles.wall(owner)).passes
    await owner.close()


async def test_a_password_is_kept_as_postgresql_keeps_it(dsn: str) -> None:
    owner = await asyncpg.connect(dsn)
    async with owner.transaction():
        await owner.execute("SET LOCAL password_encryption = 'scram-sha-256'; CREATE ROLE pupil PASSWORD 'pa$$wörd'")
        kept: str = await owner.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'pupil'")
        await owner.execute("DROP ROLE pupil")
    await owner.close()
    salt = base64.b64decode(kept.split(":")[1].split("$")[0])
    assert roles.scram_verifier("pa$$wörd", salt) == kept


async def test_without_an_organisation_nothing_is_there(
    ours: Tenant, application: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    assert {table.name: await count(application, table) for table in TABLES} == {t.name: 0 for t in TABLES}
    await application.execute(f"SELECT set_config('app.org', '{ours.org}', true)")  # ends with its own transaction
    assert await count(application, TABLES[0]) == 0


async def test_statements_for_one_organisation_do_not_reach_another(
    dsn: str, ours: Tenant, theirs: Tenant, application: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    owner = await asyncpg.connect(dsn)
    wrong: list[str] = []
    for table in TABLES:
        everything = await count(owner, table)
        column = next(column.name for column in table.columns if column.identity is None)
        assert everything >= 2, table.name
        for statement in (
            f"SELECT FROM {table.name}",
            f"SELECT FROM {table.name} FOR UPDATE",
            f'UPDATE {table.name} SET "{column}" = "{column}"'
            if table.name != "usage"
            else "UPDATE usage SET turn = turn",
            f"DELETE FROM {table.name}",
        ):
            await application.execute(f"BEGIN; SET LOCAL app.org = '{ours.org}'")
            try:
                touched = int((await application.execute(statement)).split()[-1])
            except asyncpg.ForeignKeyViolationError:
                touched = 1  # it is ours, and something else of ours hangs on it
            await application.execute("ROLLBACK")
            if touched != 1:
                wrong.append(f"{statement}: {touched} rows")
        for mine, allowed in ((ours, True), (theirs, False)):
            if table.name == "organisations":
                mine = Tenant(OrganisationId(new_id()), mine.person, mine.session)  # nobody's: never ours
            row = mine.row(table) | ({"id": mine.org} if table.name == "organisations" else {})
            statement, values = insert(table, row)
            await application.execute(f"BEGIN; SET LOCAL app.org = '{ours.org}'")
            try:
                await application.execute(statement, *values)
                outcome = True
            except asyncpg.UniqueViolationError:
                outcome = True  # the policy lets it pass: there is such a row of ours
            except asyncpg.InsufficientPrivilegeError:
                outcome = False
            await application.execute("ROLLBACK")
            if outcome is not (allowed and table.name != "organisations"):
                wrong.append(f"{statement} of {'ours' if allowed else 'theirs'}: {outcome}")
        if await count(owner, table) != everything:
            wrong.append(f"{table.name}: rows are gone")
    await owner.close()
    assert not wrong, "\n".join(wrong)


async def test_a_session_cannot_be_given_away(
    ours: Tenant, theirs: Tenant, application: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await application.execute(f"BEGIN; SET LOCAL app.org = '{ours.org}'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await application.execute(f"UPDATE sessions SET org_id = '{theirs.org}'")
    await application.execute("ROLLBACK")


async def test_who_works_for_a_person_sees_that_persons_organisations(dsn: str, ours: Tenant, theirs: Tenant) -> None:
    """T25: one connection for all, taken over after a commit, a failure and a cancellation."""
    store = Store(roles.as_role(dsn, roles.APPLICATION), pool_size=1)

    async def seen(person: UserId | None, also: OrganisationId | None = None) -> int:
        async with store.transaction(person=person, also=also) as db:
            number: int = (await db.execute(_COUNT)).scalar_one()
            return number

    for _ in range(3):
        assert await seen(ours.person) == 1
        assert await seen(None) == 2, "the hub's own work sees all"
        assert await seen(theirs.person, also=ours.org) == 2
        assert await seen(UserId(new_id())) == 0
        async with store.statements() as db:
            assert (await db.execute(_COUNT)).scalar_one() == 2
        with suppress(ZeroDivisionError):
            async with store.transaction(person=ours.person):
                raise ZeroDivisionError
        assert await seen(theirs.person) == 1

        async def stays(begun: asyncio.Event) -> None:
            async with store.transaction(person=ours.person) as db:
                begun.set()
                await db.execute(text("SELECT pg_sleep(3)"))

        begun = asyncio.Event()
        staying = asyncio.create_task(stays(begun))
        async with asyncio.timeout(30):
            await begun.wait()
        staying.cancel()
        with suppress(asyncio.CancelledError):
            await staying
    # To name a session opens it to nobody.
    for about in (ours.session, theirs.session):
        for lock, session in ((about, None), (None, about)):
            async with store.transaction(lock, person=ours.person, session=session) as db:
                rows = await db.execute(text("SELECT session_id::text FROM events"))
                assert rows.scalars() == [ours.session]
    await store.close()


async def test_a_message_sent_at_once_is_sent_for_its_author(dsn: str, ours: Tenant, theirs: Tenant) -> None:
    """A membership that should not be there opens no session of another organisation."""
    owner = await asyncpg.connect(dsn)
    await owner.execute("DELETE FROM budgets")  # of what is counted it writes nothing
    await owner.execute(
        f"INSERT INTO members (session_id, user_id, role) VALUES ('{theirs.session}', '{ours.person}', 'owner')"
    )
    await owner.close()
    store = Store(roles.as_role(dsn, roles.APPLICATION), pool_size=1)

    async def sent(session: SessionId) -> bool:
        message = NewMessage(MessageId(new_id()), RunId(new_id()), None, ours.person, "ada", "hi", new_id(), None)
        async with store.statements() as db:
            events = await sending.at_once(
                db, session, message, on_busy=None, roles=[Role.OWNER], limited=[], most_runs=9
            )
            assert (await db.execute(_COUNT)).scalar_one() == 2, "who comes after it sees what it would have seen"
        return events is not None

    assert [await sent(session) for session in (ours.session, theirs.session)] == [True, False]
    await store.close()


# Tasks in the background, which nobody calls.
BACKGROUND = {"retention", "erasure", "organisation_erasure", "suspension"}
# For whom these work is not the caller, and why.
OWN_WORK = {
    ("attachments", "_give_up"),  # of somebody who may have lost their rights meanwhile
    ("attachments", "described"),  # a run's own, for whoever speaks in its session
    ("accounting", "of_user"),  # an administrator asks about anybody
    *(("budgeting", f"{verb}_{noun}") for verb in ("of", "set_for") for noun in ("user", "organisation")),
    ("exporting", "user"),
    ("exporting", "_of_user"),  # a person is in many organisations
    ("exporting", "_checked"),
    ("messages", "_send_at_once"),  # one statement, which says it itself
    ("invites", "accept"),  # the secret opens it, first of all
    ("organisations", "create"),  # nobody belongs to it yet
    ("organisations", "page"),  # the operator's
    ("organisations", "erase"),  # an administrator's, who need not belong to it
    ("organisations", "remove"),  # where somebody is at home next is looked for everywhere
    ("seats", "check"),  # the operator seats programs of any organisation
    ("seats", "speakers"),
    *(("teams", verb) for verb in ("put", "archive", "get", "versions", "all")),  # an administrator's
}


def test_what_callers_ask_is_asked_for_them() -> None:
    """A transaction of `hub.sessions` that does not say for whom it is would see every organisation."""
    found = set()
    for file in Path(hub.sessions.__file__).parent.glob("*.py"):
        if file.stem in BACKGROUND:
            continue
        for function in ast.walk(ast.parse(file.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    is_transaction = call.func.attr in ("transaction", "statements")
                    if is_transaction and "person" not in {keyword.arg for keyword in call.keywords}:
                        found.add((file.stem, function.name))
    assert found == OWN_WORK


async def test_a_read_for_a_person_is_behind_the_wall_from_its_first_row(
    dsn: str, ours: Tenant, theirs: Tenant
) -> None:
    """For whom it is stands in the same statement: that is entered before anything else of it is looked at."""
    store = Store(roles.as_role(dsn, roles.APPLICATION), pool_size=1)
    ends = datetime.now(UTC) + timedelta(hours=1)
    ann, eve = (Principal(UserId(who), "ann", False, 1, "token:1", ends) for who in (ours.person, new_id()))
    counts = [text(f"SELECT count(*) FROM {table.name}") for table in TABLES]
    several = text(
        "SELECT count(*) FROM runs r JOIN sessions s ON s.id = r.session_id JOIN members m USING (session_id)"
    )
    async with store.reads(ann, theirs.session) as db:
        assert [row for count in counts for row in await db.execute(count)] == []
        assert db.seen is None
    for session in (ours.session, None):
        async with store.reads(ann, session) as db:
            for _ in range(6):  # after five PostgreSQL may plan once for all
                assert (await db.execute(several)).scalar_one() == 1
            assert {(await db.execute(count)).scalar_one() for count in counts} == {1}
            assert (await db.execute(text("SELECT id FROM sessions WHERE false"))).all() == []
    async with store.statements() as db:
        assert (await db.execute(_COUNT)).scalar_one() == 2, "it has left nothing behind"
    with pytest.raises(Unauthenticated):
        async with store.reads(eve) as db:
            await db.execute(_COUNT)
    await store.close()
