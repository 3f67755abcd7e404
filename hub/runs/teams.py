"""Teams of the database in a worker: the catalogue has what they are now, a run what they were when it began."""

import asyncio
from collections import OrderedDict

import structlog

from hub.domain.errors import Unavailable
from hub.domain.run import ClaimedRun
from hub.domain.team import ImportedTeam, TeamSpec
from hub.engine.catalog import Catalog
from hub.engine.forms import FileError
from hub.engine.teams.files import parse
from hub.store import teams
from hub.store.database import Store
from hub.store.teams import TeamVersion

POLL_S = 2.0  # how late a change is seen when its notice is lost
KEPT = 512  # versions that are kept as read


class ImportedTeams:
    """Looks what teams there are at every notice, and by itself. A version that cannot be used here, because it names a
    model or a tool that this worker does not have, is as if it were not there, and the log says why."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._mark: tuple[object, ...] | None = None
        self._read: OrderedDict[tuple[str, int], TeamSpec | None] = OrderedDict()
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger("hub.runs")

    @property
    def known(self) -> bool:
        """Whether the database was asked at all."""
        return self._mark is not None

    def look(self) -> None:
        """There may be something new."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the catalogue up to date. Ends by cancellation."""
        while True:
            try:
                await self.refresh()
            except Unavailable:
                self._log.warning("teams_not_read")
            try:
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def refresh(self) -> None:
        """Take over what has changed. Raises `Unavailable`."""
        async with self._lock:
            async with self._store.statements() as db:
                mark = await teams.mark(db)
                if mark == self._mark:
                    return
                found = await teams.newest(db)
            imported: list[ImportedTeam] = []
            for team in found:
                if team.name in self._catalog.files():
                    self._log.warning("imported_team_hidden_by_a_file", team=team.name)
                elif (spec := await self._spec(team)) is not None:
                    imported.append(
                        ImportedTeam(spec, team.version, team.organisation, archived=team.archived_at is not None)
                    )
            self._catalog.adopt(imported)
            self._mark = mark

    async def of_run(self, run: ClaimedRun) -> TeamSpec | None:
        """The team of a run, in the version it began with. None when this worker does not have it. Raises
        `Unavailable`."""
        if run.team_version is None:
            return self._catalog.get(run.team) if run.team in self._catalog.files() else None
        key = run.team, run.team_version
        if key in self._read:
            return self._read[key]
        async with self._store.statements() as db:
            found = await teams.get(db, *key)
        return await self._spec(found) if found is not None else None

    async def _spec(self, team: TeamVersion) -> TeamSpec | None:
        key = team.name, team.version
        if key in self._read:
            self._read.move_to_end(key)
            return self._read[key]
        try:
            # In a thread: a large file takes some time, in which sockets want to be heard.
            spec = await asyncio.to_thread(parse, team.source.encode(), team.name, self._catalog.vocabulary())
        except FileError as e:
            self._log.warning("imported_team_not_usable", team=team.name, version=team.version, problems=str(e))
            spec = None
        self._read[key] = spec
        while len(self._read) > KEPT:
            self._read.popitem(last=False)
        return spec
