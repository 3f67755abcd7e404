"""The runner of a worker: claims runs while it has room, and owns their tasks."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from hub.domain.budget import Limit
from hub.domain.errors import Conflict, Unavailable
from hub.domain.run import ClaimedRun, Lease
from hub.engine.catalog import Catalog
from hub.relay.broadcast import Broadcast
from hub.relay.deltas import DeltaPublisher
from hub.relay.open_messages import OpenMessages
from hub.runs.execution import Execution
from hub.runs.journal import Journal
from hub.runs.lease import LeaseKeeper
from hub.runs.teams import ImportedTeams
from hub.store import leases, pending
from hub.store.database import Store
from hub.store.pending import Given

POLL_S = 1.0  # how late an abandoned run is found, and a queued one when every notice is lost
BATCH = 16  # runs claimed at once, so that workers that wake together share the queue
BUSY_S = 0.001  # a worker waits this long for each run it has, within these bounds:
YIELD_S = 0.005  # before it claims, so that idle ones come first
GAP_S = 0.05  # since its last claim: what comes meanwhile is claimed together, which costs less
LOST_S = 0.25  # between two looks for runs that were lost or may go on: they look at all that are under way anywhere


class Executor:
    """Executes runs until it is drained. At most `capacity` at once. `budgets` are those of every run of the hub."""

    def __init__(
        self,
        store: Store,
        broadcast: Broadcast,
        catalog: Catalog,
        teams: ImportedTeams,
        deltas: DeltaPublisher,
        open_messages: OpenMessages,
        keeper: LeaseKeeper,
        *,
        node: str,
        capacity: int,
        lease_s: float,
        input_expires_s: float,
        budgets: Sequence[Limit] = (),
    ) -> None:
        self._store = store
        self._broadcast = broadcast
        self._catalog = catalog
        self._teams = teams
        self._deltas = deltas
        self._open_messages = open_messages
        self._keeper = keeper
        self._node = node
        self._capacity = capacity
        self._lease_s = lease_s
        self._input_expires_s = input_expires_s
        self._budgets = budgets
        self._executions: dict[Lease, Execution] = {}
        self._wake = asyncio.Event()
        self._claimed_at = float("-inf")
        self._looked_at = float("-inf")  # for lost runs
        self._look_later = False
        self._idle = asyncio.Event()
        self._claiming = False
        self._draining = False
        self._look_idle()
        self._log = structlog.get_logger("hub.runs")

    @property
    def active(self) -> int:
        """How many runs this worker executes now."""
        return len(self._executions)

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    async def take_over(self, lost: Sequence[str]) -> None:
        """Make what these workers held claimable, and claim it. They must be dead for certain: not silent, ended."""
        async with self._store.statements() as db:
            abandoned = await leases.abandon(db, lost)
        self._log.info("lost_runs", runs=abandoned)
        self._looked_at = float("-inf")
        self.wake()

    async def run(self) -> None:
        """Claim and execute. Ends by cancellation, which abandons what still runs: its leases are taken over."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                later_s = self._looked_at + LOST_S - time.monotonic()
                try:
                    async with asyncio.timeout(max(0.0, later_s) if self._look_later else POLL_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._look_later = False
                if self.active:
                    busy_s = self.active * BUSY_S
                    gap_s = self._claimed_at + min(busy_s, GAP_S) - time.monotonic()
                    await asyncio.sleep(max(min(busy_s, YIELD_S), gap_s))
                self._wake.clear()
                if self._draining:
                    continue
                self._claiming = True  # a drain that begins now waits for what is being claimed
                self._look_idle()
                for claimed, begins, at in await self._claim():
                    self._start(claimed, begins, at, tasks)
                self._claiming = False
                self._look_idle()

    async def drain(self, timeout_s: float) -> None:
        """Claim nothing more, hand runs over after their present turn, wait until all are gone or time is up."""
        self._draining = True
        for execution in self._executions.values():
            execution.hand_over()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._log.warning("runs_cut_off", runs=len(self._executions))

    async def release_all(self) -> None:
        """After the end of `run`: give the leases of what was cut off back, so that others need not wait."""
        for execution in self._executions.values():
            await execution.release()

    def _look_idle(self) -> None:
        if self._executions or self._claiming:
            self._idle.clear()
        else:
            self._idle.set()

    async def _claim(self) -> list[tuple[ClaimedRun, Given | None, float]]:
        room = min(self._capacity - self.active, BATCH)
        if room <= 0:
            return []
        self._claimed_at = at = time.monotonic()
        lost = at - self._looked_at >= LOST_S
        self._look_later = not lost
        claimed = list[ClaimedRun]()
        begins: Mapping[Lease, Given] = {}
        try:
            async with self._store.statements() as db:
                claimed = await leases.claim(
                    db, node=self._node, limit=room, lease_s=self._lease_s, files=self._catalog.files(), lost=lost
                )
                if lost and len(claimed) < room:
                    self._looked_at = at
                if claimed:
                    begins = await pending.given(db, [(run.lease, run.input_message) for run in claimed])
        except Conflict:  # another worker was faster in one of these sessions: look again at once
            self._wake.set()
            return []
        except Unavailable as e:
            self._log.warning("claim_failed", error=e.message, claimed=len(claimed))
        except Exception:  # boundary: each run reads for itself then, and what is wrong with one ends that one
            if not claimed:
                raise
            self._log.exception("claimed_not_read", claimed=len(claimed))
        if len(claimed) == room:
            self._wake.set()
        return [(run, begins.get(run.lease), at) for run in claimed]

    def _start(self, claimed: ClaimedRun, begins: Given | None, at: float, tasks: asyncio.TaskGroup) -> None:
        held = self._keeper.hold(claimed.lease, at)
        execution = Execution(
            self._store,
            self._catalog,
            self._teams,
            self._deltas,
            self._open_messages,
            run=claimed,
            begins=begins,
            held=held,
            journal=Journal(self._store, self._broadcast, held),
            node=self._node,
            tasks=tasks,
            input_expires_s=self._input_expires_s,
            budgets=self._budgets,
        )
        if self._draining:  # it was claimed while the drain began
            execution.hand_over()
        self._executions[claimed.lease] = execution

        async def execute() -> None:
            await self._keeper.fence(held)
            await execution.run()
            self._keeper.let_go(held)
            del self._executions[claimed.lease]
            self._look_idle()
            if not execution.gave_up:
                self.wake()  # the next run of this session may be waiting for this one

        tasks.create_task(execute(), name=f"run {claimed.lease.run}")
