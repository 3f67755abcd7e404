"""A bot as its worker knows it: what its connection is registered for, and the turns in its hands."""

import asyncio
from dataclasses import dataclass, field

from hub.domain.ids import SessionId
from hub.gateway.connection import Connection
from hub.protocol.live import TurnOfferedData
from hub.relay.bot_line import Complete, Decline


@dataclass(frozen=True, slots=True)
class Registration:
    """What a connection takes turns of; None is anything its user may."""

    agent: str
    session: SessionId | None
    team: str | None


@dataclass(slots=True, eq=False)
class Turn:
    """An offered turn. `data` is what was told of it, without what was said before: that is long. `over` is why nothing
    is taken from it any more; `done` ends the wait for the runner's word. `bound`: its place names its user."""

    sender: str
    session: SessionId
    run: str
    data: TurnOfferedData
    connection: Connection
    bound: bool
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    index: int = 0
    over: str | None = None
    ended: Complete | Decline | None = None
    done: asyncio.Future[None] | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class Bot:
    """A connection that has registered. `turns` are by offer: those in its hands, and the last ended ones."""

    connection: Connection
    registrations: dict[Registration, int] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)

    @property
    def load(self) -> int:
        return sum(turn.over is None for turn in self.turns.values())

    def takes(self, agent: str, session: str, team: str) -> bool:
        """Whether it would take a turn of this agent, and has room for it."""
        if self.connection.closing:
            return False
        load = self.load
        return any(
            wanted.agent == agent and wanted.session in (None, session) and wanted.team in (None, team) and load < turns
            for wanted, turns in self.registrations.items()
        )
