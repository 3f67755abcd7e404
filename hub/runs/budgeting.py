"""The budgets of one run: which limits hold, and what is used of them."""

from collections.abc import Sequence

from hub.domain.budget import Budgets, Limit, stacked
from hub.domain.errors import HubError
from hub.domain.run import ClaimedRun
from hub.domain.team import TeamSpec
from hub.engine.allowance import Allowance
from hub.store import budgets
from hub.store.database import Store


class RunBudgets:
    """Limits of the hub, of the run's team, and those that were set; read again whenever they matter."""

    def __init__(self, store: Store, run: ClaimedRun, team: TeamSpec, hub: Sequence[Limit]) -> None:
        self._store = store
        self._run = run.lease.run
        self._hub = hub
        self._team = team.budgets
        self._always = bool(hub or team.budgets)
        self.are_set = run.budgeted
        """Whether there are limits that were set, as was seen last."""
        self.fault: HubError | None = None
        """Why the budgets could not be read within a turn: engines hide it."""

    async def allowance(self) -> Allowance:
        """What the next turn may spend. A run without limits asks nobody."""
        if not (self._always or self.are_set):
            return Allowance()
        return Allowance(await self._read(), self._look)

    async def _look(self) -> Budgets:
        try:
            return await self._read()
        except HubError as e:
            self.fault = e
            raise

    async def _read(self) -> Budgets:
        async with self._store.statements() as db:
            limits = stacked(self._hub, self._team, await budgets.of_run(db, self._run))
            return Budgets(limits, await budgets.used(db, self._run, {limit.scope for limit in limits}))
