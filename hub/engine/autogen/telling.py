"""What one AutoGen turn tells the hub, and what it has used so far."""

import asyncio

from hub.domain.run import ModelCall, Usage
from hub.engine.allowance import Allowance
from hub.engine.autogen.asking import Asking
from hub.engine.base import Emit, EngineEvent
from hub.engine.tools.outcome import ToolOutcome


class Telling:
    """The way out of a turn for everything below the team: events, calls of models, the fault that broke it.

    AutoGen hands exceptions on as text, with paths and tracebacks; the real one is kept here. `calls` are the tool
    calls under way: AutoGen forgets them when it is cancelled. `asking` are those left to the run. `handed_to` is the
    agent that speaks next in a swarm, when the turn ended with a handoff.
    """

    def __init__(self, emit: Emit, allowance: Allowance | None = None) -> None:
        self._emit = emit
        self.allowance = allowance or Allowance()
        self._over = False
        self.model_calls: list[ModelCall] = []
        self.fault: Exception | None = None
        self.last_text = ""
        self.calls: set[asyncio.Task[ToolOutcome]] = set()
        self.asking = Asking()
        self.handed_to: str | None = None
        self._one_by_one = asyncio.Lock()

    @property
    def usage(self) -> Usage:
        """What all model calls of the turn have used so far."""
        return sum((call.usage for call in self.model_calls), Usage())

    async def tell(self, event: EngineEvent) -> None:
        """Emit an event, after all others that are being told: it is written to the log."""
        async with self._one_by_one:
            await self.stream(event)

    async def stream(self, event: EngineEvent) -> None:
        """Emit the next piece of a message: of agents that speak side by side, only those overtake each other.

        After the turn is over, whoever still speaks is cancelled.
        """
        if self._over:
            raise asyncio.CancelledError
        try:
            await self._emit(event)
        except Exception as e:
            self.fault = e
            raise

    def close(self) -> None:
        """The turn is over: nothing is emitted any more."""
        self._over = True
