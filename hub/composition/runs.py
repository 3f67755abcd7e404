"""What makes agents talk: the catalogue of teams, and the executor of their runs with what it works on."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from hub.composition.agents import catalog_of, mcp_forms
from hub.composition.relay import RelayParts
from hub.engine.bots import Bots
from hub.engine.catalog import mcp_servers, preload
from hub.relay.deltas import DeltaPublisher
from hub.runs.control import RunControl
from hub.runs.executor import Executor
from hub.runs.expiry import Expiry
from hub.runs.lease import LeaseKeeper
from hub.runs.teams import ImportedTeams
from hub.sessions.attachments import described
from hub.sessions.seats import speakers
from hub.settings import Settings, variable
from hub.store.database import Store

if TYPE_CHECKING:
    from hub.engine.mcp.server import McpServer


class RunsParts:
    """Every worker has all of it, for a gateway too knows teams and stops runs; only a runner starts the executor."""

    def __init__(
        self, settings: Settings, store: Store, relay: RelayParts, node: str, tasks: asyncio.TaskGroup
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self.keeper = LeaseKeeper(store, relay.fence, lease_s=settings.lease_s)
        self.deltas = DeltaPublisher(relay.pipeline, relay.subscriber, self.keeper.refence, tasks)
        self.control = RunControl(relay.broadcast, self.deltas)
        self.bots = Bots(relay.bot_line, partial(speakers, store), partial(described, store))
        self.catalog = catalog_of(settings, store, self.bots)
        self.imported = ImportedTeams(store, self.catalog)
        self.mcp: Sequence[McpServer] = ()
        self.expiry = Expiry(store, relay.broadcast)
        self.executor = Executor(
            store,
            relay.broadcast,
            self.catalog,
            self.imported,
            self.deltas,
            relay.open_messages,
            self.keeper,
            node=node,
            capacity=settings.runs_per_worker,
            lease_s=settings.lease_s,
            input_expires_s=settings.input_expires_s,
            budgets=settings.limits,
        )

    def start_runner(self) -> None:
        """Start the tasks that only a runner has."""
        preload()  # an import within a turn would stop every socket of this worker for a second
        self.mcp = mcp_servers(mcp_forms(self._settings), variable)
        for server in self.mcp:
            self._tasks.create_task(server.run(self.catalog.tools.put), name=f"mcp {server.name}")
        self._tasks.create_task(self.executor.run(), name="executor")
        self._tasks.create_task(self.expiry.run(), name="expiry")
