"""Erasing organisations, in the background: whoever asks is told when nobody belongs to it any more, and what is in its
sessions goes right after."""

import asyncio

import structlog

from hub.domain.errors import HubError
from hub.domain.ids import OrganisationId, SessionId
from hub.sessions.erasure import EVERY_S, TAKEN_OVER_S, Erasure
from hub.store import audit, erasing_organisations
from hub.store.database import Store

REASON = "organisation erased"


class OrganisationErasure:
    """Works off what has been asked for; every worker does, from the beginning when another one was lost with it."""

    def __init__(self, store: Store, erasure: Erasure) -> None:
        self._store = store
        self._erasure = erasure
        self._asked = asyncio.Event()
        self._own: set[OrganisationId] = set()
        self._log = structlog.get_logger("hub.privacy")
        self.erased = 0  # organisations that this worker has come to the end with

    def ask(self, org: OrganisationId) -> None:
        """This organisation has been buried here: go on at once."""
        self._own.add(org)
        self._asked.set()

    async def run(self) -> None:
        """Look every 5 s, and at once when asked. Ends only by cancellation."""
        while True:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                async with self._store.statements() as db:
                    found = await erasing_organisations.pending(db, age_s=TAKEN_OVER_S)
            except HubError as e:  # tried again
                self._log.warning("erasure_interrupted", error=e.message)
                continue
            for org in self._own.union(found):
                self._own.discard(org)
                await self._try(org)

    async def _try(self, org: OrganisationId) -> None:
        """Erase what is left of one organisation; it is found again by whoever looks next."""
        try:
            await self.erase(org)
        except HubError as e:
            self._log.warning("erasure_interrupted", organisation=org, error=e.message)
        except Exception:  # noqa: BLE001  # boundary: one organisation; rows that cannot be read must not stop the others
            self._log.exception("erasure_failed", organisation=org)

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

    async def _sessions(self, org: OrganisationId, *, deleted: bool) -> list[SessionId]:
        async with self._store.statements() as db:
            return await erasing_organisations.sessions(db, org, deleted=deleted)
