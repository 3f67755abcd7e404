"""Teams that are imported while the hub runs: by administrators, and seen by whom they are for."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from hub.auth.policy import require_admin
from hub.domain.errors import BadRequest, Conflict, NotFound
from hub.domain.ids import OrganisationId, UserId
from hub.domain.principal import Principal
from hub.domain.team import TeamSpec
from hub.engine.forms import FileError
from hub.engine.teams.files import parse
from hub.engine.teams.rules import Names
from hub.sessions.access import find_organisation
from hub.store import audit, pages, teams
from hub.store.database import Db, Store
from hub.store.teams import TeamVersion

MAX_TEAMS = 500
TOLD = 20  # problems of one file
NO_SUCH = "no such team"


class Teams:
    """What administrators do with teams of the database. `names` is what teams may name, `files` are the names of teams
    that come with the hub or out of files, which no other team can have; `changed` is awaited after every change.

    Every method takes who does it (`principal`; None: the operator, at the machine) and from where (`address`), for the
    audit trail, and raises `Forbidden` for who is no administrator.
    """

    def __init__(
        self,
        store: Store,
        *,
        names: Callable[[], Names],
        files: Callable[[], Collection[str]],
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._names = names
        self._files = files
        self._changed = changed

    async def put(
        self,
        principal: Principal | None,
        source: bytes,
        *,
        name: str | None = None,
        organisation: str | None = None,
        new: bool = False,
        address: str | None = None,
    ) -> TeamVersion:
        """What a team is from now on, out of its file; sessions have it from their next run on. The same file again is
        no new version, and an archived team is there again.

        `name` is what the file must say; `organisation`, an id or a name, is for whom a new team is. Raises
        `BadRequest` for a file that will not do, with each problem's line and column, `NotFound` for an organisation,
        and `Conflict` for the name of a team that comes out of a file, or is another organisation's, or, with `new`, is
        there already.
        """
        _allow(principal)
        spec = await self._read(source)
        if name is not None and spec.name != name:
            raise BadRequest("the file has another name than the address", details={"name": spec.name})
        if spec.name in self._files():
            raise Conflict("a team that comes with the hub, or out of a file, has this name")
        text, who = source.decode(), principal.user if principal is not None else None
        async with self._store.transaction() as db:
            await teams.lock(db, spec.name)
            org = await find_organisation(db, organisation) if organisation is not None else None
            before = await teams.get(db, spec.name)
            if before is None:
                if await teams.count(db) >= MAX_TEAMS:
                    raise Conflict(f"there are {MAX_TEAMS} teams already")
            else:
                _may_follow(before, org, named=organisation is not None, new=new)
                if before.source == text and before.archived_at is None:
                    return before
                org = before.organisation
            added = await teams.add(db, spec.name, organisation=org, source=text, user=who)
            await _audited(db, who, "team.import", added, address)
        await self._announce()
        return added

    async def archive(self, principal: Principal | None, name: str, *, address: str | None = None) -> None:
        """No session is opened with this team any more; those that have it go on. Raises `NotFound`."""
        _allow(principal)
        async with self._store.transaction() as db:
            await teams.lock(db, name)
            found = await teams.get(db, name)
            if found is None or not await teams.archive(db, name, found.version):
                raise NotFound(NO_SUCH)
            await _audited(db, principal.user if principal is not None else None, "team.archive", found, address)
        await self._announce()

    async def get(self, principal: Principal | None, name: str, version: int | None = None) -> TeamVersion:
        """A version of a team, or the newest one. Raises `NotFound`."""
        _allow(principal)
        async with self._store.statements() as db:
            found = await teams.get(db, name, version)
        if found is None:
            raise NotFound(NO_SUCH)
        return found

    async def versions(
        self, principal: Principal | None, name: str, *, limit: int, cursor: str | None
    ) -> tuple[list[TeamVersion], str | None]:
        """A team's versions, the newest first, and the cursor of the next page. Raises `NotFound`."""
        _allow(principal)
        below = pages.parse_number(cursor) if cursor is not None else None
        async with self._store.statements() as db:
            found = await teams.versions(db, name, below=below, limit=limit + 1)
        if not found and below is None:
            raise NotFound(NO_SUCH)
        return pages.cut(found, limit, lambda last: pages.number(last.version))

    async def all(self, principal: Principal | None) -> list[TeamVersion]:
        """The newest version of every team, also of archived ones, by name."""
        _allow(principal)
        async with self._store.statements() as db:
            return await teams.newest(db)

    async def _read(self, source: bytes) -> TeamSpec:
        try:
            # In a thread: a large file takes some time, in which sockets want to be heard.
            return await asyncio.to_thread(parse, source, "", self._names())
        except FileError as e:
            told = [
                {"line": one.place.line, "column": one.place.column, "where": one.where, "what": one.what}
                for one in e.problems[:TOLD]
            ]
            raise BadRequest("this is no team", details={"problems": told}) from None

    async def _announce(self) -> None:
        if self._changed is not None:
            await self._changed()


def _allow(principal: Principal | None) -> None:
    if principal is not None:
        require_admin(principal)


def _may_follow(before: TeamVersion, org: OrganisationId | None, *, named: bool, new: bool) -> None:
    if named and before.organisation != org:
        raise Conflict("a team of another organisation, or of everybody, has this name")
    if new and before.archived_at is None:
        raise Conflict("there is such a team already")


async def _audited(db: Db, who: UserId | None, action: str, team: TeamVersion, address: str | None) -> None:
    detail = {"version": team.version, "organisation": team.organisation}
    await audit.add(db, actor=who, action=action, object=f"team:{team.name}", address=address, detail=detail)
