"""What one AutoGen turn tells the hub, and what it has used so far."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from autogen_agentchat.teams import BaseGroupChat

from hub.domain.budget import Limit
from hub.domain.run import ModelCall, Usage
from hub.engine.allowance import Allowance, Within
from hub.engine.autogen.asking import Asking
from hub.engine.base import Emit, EngineEvent, Input, MessageEnded, ToolEnded, ToolStarted


class Telling:
    """The way out of a turn for everything below the team: events, calls of models, the fault that broke it.

    AutoGen hands exceptions on as text, with paths and tracebacks; the real one is kept here. `calls` are the tool
    calls under way: AutoGen forgets them when it is cancelled. `asking` are those left to the run. `handed_to` is the
    agent that speaks next in a swarm, when the turn ended with a handoff. `team` is what the turn is done with, and
    `insides` are the turns that agents of it have others do.
    """

    def __init__(self, emit: Emit, allowance: Allowance | None = None) -> None:
        self._emit = emit
        self.allowance = allowance or Allowance()
        self._over = False
        self.model_calls: list[ModelCall] = []
        self.fault: Exception | None = None
        self.last_text = ""
        self.calls: set[asyncio.Task[Any]] = set()
        self.team: BaseGroupChat | None = None
        self.insides: list[Inside] = []
        self.asking = Asking()
        self.handed_to: str | None = None
        self._one_by_one = asyncio.Lock()

    @property
    def usage(self) -> Usage:
        """What all model calls of the turn have used so far."""
        return sum((call.usage for call in self.model_calls), Usage())

    def teams(self) -> Iterator[BaseGroupChat]:
        """All teams at work in the turn."""
        if self.team is not None:
            yield self.team
        for inside in self.insides:
            yield from inside.teams()

    def under_way(self) -> set[asyncio.Task[Any]]:
        """All calls of tools under way in the turn."""
        return self.calls.union(*(inside.under_way() for inside in self.insides))

    async def tell(self, event: EngineEvent) -> None:
        """Emit an event, after all others that are being told: it is written to the log."""
        async with self._one_by_one:
            await self.stream(event)

    async def stream(self, event: EngineEvent) -> None:
        """Emit the next piece of a message: of agents that speak side by side, only those overtake each other.

        After the turn is over, whoever still speaks is cancelled.
        """
        self.check()
        try:
            await self._emit(event)
        except Exception as e:
            self.fault = e
            raise

    def check(self) -> None:
        """Raises CancelledError when the turn is over."""
        if self._over:
            raise asyncio.CancelledError

    def close(self) -> None:
        """The turn is over: nothing is emitted any more."""
        self._over = True


class Inside(Telling):
    """What a team, or an agent, tells that does a turn for an agent. Its model calls are those of the turn around it.

    Unless it `is_shown`, nobody sees more of it than the tools it calls. `said` is what its agents have said.
    """

    def __init__(self, around: Telling, *, is_shown: bool, limits: Sequence[Limit] = ()) -> None:
        allowance = Within(around.allowance, limits) if limits else around.allowance
        super().__init__(around._emit, allowance)
        self._around = around
        self._is_shown = is_shown
        self.said: list[Input] = []
        self.model_calls = around.model_calls
        around.insides.append(self)

    def begin(self) -> None:
        """A turn begins, maybe after another one."""
        self.last_text, self.handed_to, self.fault = "", None, None

    async def tell(self, event: EngineEvent) -> None:
        if isinstance(event, MessageEnded) and event.text:
            self.said.append(Input(event.agent.name, event.text, is_agent=True))
        if self._is_shown or isinstance(event, ToolStarted | ToolEnded):
            await self._around.tell(event)
        else:
            self._around.check()

    async def stream(self, event: EngineEvent) -> None:
        if self._is_shown:
            await self._around.stream(event)
        else:
            self._around.check()

    def check(self) -> None:
        self._around.check()
