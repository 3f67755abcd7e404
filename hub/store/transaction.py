"""A transaction in progress: statements go to the driver as they are.

SQLAlchemy keeps the schema and the migrations; its execution layer costs several times what the driver needs for a
statement, and the store writes its SQL by hand anyway.
"""

import re
import select
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import TextClause

from hub.domain.errors import Unauthenticated
from hub.domain.ids import OrganisationId, SessionId, UserId
from hub.domain.session import Role

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom something is read, about which session, and what must hold for it: the user's `auth_version`, a sign-in
    and an API key that have not ended; None: it does not matter."""

    person: UserId
    session: SessionId | None
    version: int | None
    sign_in: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody is in the session that they read in, and the end of its log."""

    role: Role
    last_seq: int


class Row:
    """One row; columns are attributes."""

    __slots__ = ("_record",)

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record

    def __getattr__(self, column: str) -> Any:
        try:
            return self._record[column]
        except KeyError:
            raise AttributeError(column) from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._record.values())


class Rows:
    """What a statement returned, and how many rows it touched."""

    __slots__ = ("_records", "rowcount")

    def __init__(self, records: list[Any], rowcount: int) -> None:
        self._records = records
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self._records)

    def all(self) -> list[Row]:
        """Every row."""
        return list(self)

    def one_or_none(self) -> Row | None:
        """The only row, or None when there is none."""
        if len(self._records) > 1:
            raise ValueError("more than one row")
        return Row(self._records[0]) if self._records else None

    def one(self) -> Row:
        """The only row."""
        (record,) = self._records
        return Row(record)

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        (record,) = self._records
        return record[0]

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row, or None when there is none."""
        return self.scalar_one() if self._records else None

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        return [record[0] for record in self._records]


class Transaction:
    """Statements between BEGIN and COMMIT on one connection."""

    def __init__(self, connection: Any, compiled: dict[TextClause, "Compiled"]) -> None:
        self.connection: asyncpg.Connection[asyncpg.Record] = connection
        self._compiled = compiled
        self._open = False
        self._begun = False
        self._reader: tuple[object, ...] | None = None
        self.seen: Seen | None = None
        """What the newest statement of a read about a session has seen; None: they are not in it, or it is not there.
        Such a statement has no rows."""

    async def begin(
        self,
        lock: SessionId | None = None,
        *,
        person: UserId | None = None,
        also: OrganisationId | None = None,
        session: SessionId | None = None,
    ) -> None:
        """Begin, say for whom and about which session, and lock a session's row, in one round trip."""
        # Several statements at once take no parameters: ids go into the text, and nothing but ids.
        if person is not None:
            about = lock or session
            values = f"{_id(person)}, {_id(also)}, {_id(about)}, {lock is not None}"
            await self.connection.execute(f"BEGIN; SELECT hub_enter({values})")
        elif lock is not None:
            await self.connection.execute(
                f"BEGIN; SELECT FROM sessions WHERE id = {_id(lock)} AND deleted_at IS NULL FOR NO KEY UPDATE"
            )
        else:
            await self.connection.execute("BEGIN")
        self._open = self._begun = True

    def begin_nothing(self) -> None:
        """Every statement is to be a transaction of its own."""
        self._open = True

    @property
    def was_cut_off(self) -> bool:
        """Whether the server has gone, or says goodbye, before it is asked anything: little else comes unasked."""
        if self.connection.is_closed():
            return True
        socket = self.connection._transport.get_extra_info("socket")  # asyncpg has no other way to ask
        if socket is None:
            return True
        idle = select.poll()
        idle.register(socket.fileno(), select.POLLIN)
        return bool(idle.poll(0))

    def begin_reading(self, reader: Reader) -> None:
        """Every statement is to be a transaction of its own, and a read for somebody."""
        self._open = True
        self._reader = (reader.person, reader.session, reader.version, reader.sign_in, reader.key)

    async def commit(self) -> None:
        """Raises RuntimeError when the transaction had failed before, and somebody hid it: nothing was written."""
        self._open = False
        if await self.connection.execute("COMMIT") != "COMMIT":
            raise RuntimeError("the transaction had failed and was rolled back")

    async def rollback(self) -> None:
        """Undo everything, but for statements that were transactions of their own; nothing may follow."""
        self._open = False
        if self._begun:
            await self.connection.execute("ROLLBACK")

    def abandon(self) -> None:
        """Drop the connection without a word: a polite goodbye to a server that is silent takes seconds."""
        self._open = False
        self.connection.terminate()

    @property
    def is_open(self) -> bool:
        """Whether neither COMMIT nor ROLLBACK was said."""
        return self._open

    async def execute(self, statement: TextClause, values: Mapping[str, Any] = _NOTHING) -> Rows:
        """Run a statement, with its `:named` values."""
        if not self._open:
            raise RuntimeError("the transaction has ended")
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Compiled(statement.text)
        arguments = [values[name] for name in compiled.names]
        if self._reader is not None:
            found = await self.connection.fetch(compiled.reading, *arguments, *self._reader)
            first = found[0]
            if not first["hub_holds"]:
                raise Unauthenticated("the credential has ended")
            role = first["hub_role"]
            self.seen = Seen(Role(role), first["hub_seq"]) if role is not None else None
            records = found if first["hub_there"] else []
            return Rows(records, len(records))
        if compiled.returns_rows:
            records = await self.connection.fetch(compiled.sql, *arguments)
            return Rows(records, len(records))
        status = await self.connection.execute(compiled.sql, *arguments)
        count = status.rpartition(" ")[2]
        return Rows([], int(count) if count.isdecimal() else 0)


def _id(id_: str | None) -> str:
    return "NULL" if id_ is None else f"'{UUID(id_)}'"


class Compiled:
    """A statement as the driver takes it: numbered parameters, each once. `reading` is the same as part of one that
    first enters for whom it reads: there is always a row, which says whether they may and whether anything is there."""

    __slots__ = ("names", "reading", "returns_rows", "sql")

    def __init__(self, text: str) -> None:
        names: dict[str, int] = {}

        def number(match: re.Match[str]) -> str:
            return f"${names.setdefault(match[1], len(names) + 1)}"

        self.sql = _PARAMETER.sub(number, text)
        self.names = tuple(names)
        more = ", ".join(f"${len(names) + number}" for number in range(1, 6))
        # Lateral, and behind OFFSET 0: nothing in it, nor in the policies of its tables, is looked at before it was
        # entered. Columns of ours come last, for those who take the first.
        self.reading = f"""
            SELECT read.*, entered.holds AS hub_holds, entered.seen_role AS hub_role, entered.seen_seq AS hub_seq
            FROM hub_read_as({more}) AS entered
            LEFT JOIN LATERAL (
                SELECT wanted.*, true AS hub_there FROM ({self.sql}) AS wanted WHERE entered.sees OFFSET 0
            ) AS read ON true
        """
        self.returns_rows = text.lstrip().upper().startswith(("SELECT", "WITH")) or "RETURNING" in text
