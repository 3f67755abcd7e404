"""Holding leases: renewing them all together, noticing lost ones and requests to stop."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from hub.domain.errors import HubError, Unavailable
from hub.domain.ids import RunId
from hub.domain.run import Lease
from hub.relay.fence import Fence
from hub.store import leases
from hub.store.database import Store
from hub.store.log import LeaseLost

FENCE_REFRESH_S = 40.0  # a third of the fence's lifetime in Redis
STOP_CHECK_S = 1.0  # a stop is effective within 2 s even when every notice is lost


@dataclass(slots=True)
class HeldLease:
    """A lease in this worker's hands. `stop` is set when the run is to end, for `stop_reason`, or the lease is lost."""

    lease: Lease
    valid_until: float
    fenced_at: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_reason: str | None = None
    lost: bool = False
    refused: bool = False  # a write of its holder, because the lease was not the newest

    @property
    def is_valid(self) -> bool:
        """Whether this worker may still act for the run, by its own clock: a frozen one finds out before it writes."""
        return not self.lost and self.has_time()

    def check(self) -> None:
        """Raises `LeaseLost` when this worker may not act for the run any more."""
        # What `is_valid` says, without the calls: it is asked for every token.
        if self.lost or time.monotonic() >= self.valid_until:
            raise LeaseLost

    def has_time(self) -> bool:
        """Whether it has not run out, by the clock of this worker."""
        return time.monotonic() < self.valid_until

    def lose(self) -> None:
        """Give up: another runner may hold the run now."""
        self.lost = True
        self.stop.set()


class LeaseKeeper:
    """Keeps the leases of one worker alive, with one statement for all of them."""

    def __init__(self, store: Store, fence: Fence, *, lease_s: float) -> None:
        self._store = store
        self._fence = fence
        self._lease_s = lease_s
        self._held: dict[Lease, HeldLease] = {}
        self.lost = 0
        self.refused = 0
        self._noticed = set[RunId]()
        self._look = asyncio.Event()
        self._holding = asyncio.Event()  # set while there may be leases
        self._log = structlog.get_logger("hub.runs")

    def hold(self, lease: Lease, claimed_at: float) -> HeldLease:
        """Keep this lease from now on. `claimed_at` is the monotonic time just before it was asked for."""
        held = HeldLease(lease, claimed_at + self._lease_s)
        self._held[lease] = held
        self._holding.set()
        return held

    def let_go(self, held: HeldLease) -> None:
        """Stop keeping this lease."""
        self._held.pop(held.lease, None)
        self.lost += held.lost
        self.refused += held.refused

    def look_at(self, run: RunId) -> None:
        """A notice says that this run should stop: read it now instead of within a second, and whether its lease still
        stands, instead of when it is renewed."""
        if any(lease.run == run for lease in self._held):
            self._noticed.add(run)
            self._look.set()

    async def fence(self, held: HeldLease) -> None:
        """Let Redis refuse older epochs; lose the lease when it knows a newer one. Without Redis: go on, for deltas
        ask again (`refence`) when it is back."""
        await self._fence_all([held])

    async def _fence_all(self, some: Sequence[HeldLease]) -> None:
        moment = time.monotonic()
        for held in some:
            held.fenced_at = moment
        try:
            holds = await self._fence.raise_all([(held.lease.session, held.lease.epoch) for held in some])
        except Unavailable as e:
            self._log.warning("not_fenced", runs=len(some), error=e.message)
            return
        for held, it_holds in zip(some, holds, strict=True):
            if not it_holds:
                held.lose()

    async def refence(self, lease: Lease) -> bool:
        """Put the fence back after Redis lost it, if PostgreSQL says that the lease still stands."""
        async with self._store.statements() as db:
            stands = lease in await leases.renew(db, [lease], self._lease_s)
        return stands and await self._fence.raise_to(lease.session, lease.epoch)

    async def run(self) -> None:
        """Renew every third of a lease; look for stops every second. Without leases nothing is done. Ends only by
        cancellation."""
        renewed = time.monotonic()
        every_s = min(STOP_CHECK_S, self._lease_s / 3)
        while True:
            if not self._held:
                self._holding.clear()
                await self._holding.wait()
                renewed = time.monotonic()
            try:
                async with asyncio.timeout(every_s):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            if not self._held:
                continue
            try:
                # First: a database that is slow may leave no time for it after the other question.
                if time.monotonic() - renewed >= self._lease_s / 3:
                    asked_at = time.monotonic()
                    await self._renew(asked_at)
                    renewed = asked_at
                await self._look_for_stops()
            except HubError as e:  # the database does not answer: tried again until the leases run out
                self._log.warning("leases_not_renewed", error=e.message, held=len(self._held))
            self._give_up_expired()

    async def _look_for_stops(self) -> None:
        noticed = frozenset(self._noticed)
        verdicts = dict[Lease, str | None]()
        async with self._store.statements() as db:
            verdicts.update(await leases.stopping(db))
            if noticed:
                verdicts |= await leases.stops(db, [lease for lease in self._held if lease.run in noticed])
        self._noticed -= noticed
        for lease, reason in verdicts.items():
            if (held := self._held.get(lease)) is None:
                continue
            if reason is None:
                held.lose()
            elif held.stop_reason is None:
                held.stop_reason = reason
                held.stop.set()

    async def _renew(self, asked_at: float) -> None:
        asked = list(self._held.values())
        async with self._store.statements() as db:
            kept = await leases.renew(db, [held.lease for held in asked], self._lease_s)
        for held in asked:
            if held.lease in kept:
                held.valid_until = asked_at + self._lease_s
            elif held.lease in self._held:  # not for a run that has ended meanwhile
                self._log.warning("lease_lost", run=held.lease.run, epoch=held.lease.epoch)
                held.lose()
        long_ago = time.monotonic() - FENCE_REFRESH_S
        if due := [held for held in asked if held.lease in kept and held.fenced_at <= long_ago]:
            await self._fence_all(due)

    def _give_up_expired(self) -> None:
        for held in self._held.values():
            if not held.lost and not held.is_valid:
                self._log.warning("lease_expired", run=held.lease.run, epoch=held.lease.epoch)
                held.lose()
