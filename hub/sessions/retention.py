"""What has had its time goes: contents of sessions, tokens, links, keys, addresses."""

import asyncio
import random
from dataclasses import dataclass

import structlog

from hub.domain.errors import HubError
from hub.domain.ids import SessionId
from hub.sessions.erasure import Erasure
from hub.store import retention
from hub.store.database import Store


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept at most, in seconds; None: for ever; an organisation may want the first two shorter
    (`OrgKeep`). `deleted_s` is for what was said in sessions that were
    deleted, `sessions_s` for sessions in which nothing happens any more, `addresses_s` for those in the audit trail."""

    deleted_s: float
    sessions_s: float | None = None
    addresses_s: float | None = None


class Retention:
    """Sweeps every `every_s` seconds, in short transactions, one after the other. Every worker does; what one removes
    another does not find."""

    def __init__(self, store: Store, erasure: Erasure, keep: Keep, *, every_s: float) -> None:
        self._store = store
        self._erasure = erasure
        self._keep = keep
        self._every_s = every_s
        self._log = structlog.get_logger("hub.privacy")
        self.sessions = 0  # whose contents were removed
        self.rows = 0  # tokens, links and keys that were

    async def run(self) -> None:
        """Sweep for ever. Ends only by cancellation."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1) * self._every_s)  # noqa: S311 (jitter)
            try:
                await self.sweep()
            except HubError as e:  # tried again
                self._log.warning("sweep_interrupted", error=e.message)
            except Exception:  # noqa: BLE001  # boundary: one sweep; rows that cannot be read take no worker down
                self._log.exception("sweep_failed")

    async def sweep(self) -> None:
        """Remove all that has had its time. Raises `Unavailable`."""
        await self._close_unused()
        while found := await self._deleted():
            for session in found:
                await self._erasure.purge(session)
                self.sessions += 1
        while count := await self._expire():
            self.rows += count
        if self._keep.addresses_s is not None:
            while await self._forget_addresses(self._keep.addresses_s):
                pass

    async def _close_unused(self) -> None:
        after: SessionId | None = None
        while True:
            async with self._store.statements() as db:
                old, after = await retention.unused(db, age_s=self._keep.sessions_s, after=after)
            for session in old:
                await self._erasure.delete(session, {"reason": "retention"})
            if after is None:
                return

    async def _deleted(self) -> list[SessionId]:
        async with self._store.statements() as db:
            return await retention.deleted(db, age_s=self._keep.deleted_s)

    async def _expire(self) -> int:
        async with self._store.transaction() as db:
            return await retention.expire(db)

    async def _forget_addresses(self, age_s: float) -> int:
        async with self._store.transaction() as db:
            return await retention.forget_addresses(db, age_s=age_s)
