"""Erasing organisations, in the background: whoever asks is told when nobody belongs to it any more, and what is in its
sessions goes right after."""

from hub.domain.ids import OrganisationId, SessionId
from hub.sessions.backlog import Backlog
from hub.sessions.erasure import Erasure
from hub.store import audit, erasing_organisations
from hub.store.database import Store

REASON = "organisation erased"


class OrganisationErasure:
    """Takes away what organisations had. `backlog` is told which, once they are buried."""

    def __init__(self, store: Store, erasure: Erasure) -> None:
        self._store = store
        self._erasure = erasure
        self.backlog = Backlog[OrganisationId]("erasure", "organisation", self.erase, self._left)
        self.erased = 0  # organisations that this worker has come to the end with

    async def erase(self, org: OrganisationId) -> None:
        """Take everything of this buried organisation away. Raises `Unavailable`; it may be begun anew at any time."""
        # First all are closed, for people are told by that; it takes a fraction of what removing the contents does.
        while found := await self._sessions(org, deleted=False):
            for session in found:
                await self._erasure.delete(session, {"erased": org}, REASON)
        while found := await self._sessions(org, deleted=True):
            for session in found:
                await self._erasure.purge(session)
        more = True
        while more:
            async with self._store.transaction() as db:
                more = await erasing_organisations.empty_rest(db, org)
        async with self._store.transaction() as db:
            await erasing_organisations.leave(db, org)
            if await erasing_organisations.end(db, org):
                await audit.add(db, actor=None, action="organisation.erased", object=f"organisation:{org}")
                self.erased += 1

    async def _left(self, age_s: float) -> list[OrganisationId]:
        async with self._store.statements() as db:
            return await erasing_organisations.pending(db, age_s=age_s)

    async def _sessions(self, org: OrganisationId, *, deleted: bool) -> list[SessionId]:
        async with self._store.statements() as db:
            return await erasing_organisations.sessions(db, org, deleted=deleted)
