"""What comes back over the relay for a turn that is sought: who would take it, and what the one says who has it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from hub.relay.bot_line import Complete, Decline, Delta, Dropped, Here, Reason


@dataclass(slots=True)
class Search:
    """Who has answered. `changed`: somebody has, or has come."""

    agent: str
    found: dict[str, Here] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def untried(self, tried: Collection[str]) -> list[Here]:
        """Whose connection has not lost this turn."""
        return [here for here in self.found.values() if here.connection not in tried]


class Hearing:
    """What has come from one connection. Bounded by what its worker lets through (`hub.gateway.serving`)."""

    def __init__(self, now: float) -> None:
        self.began = False
        self.heard_at = now
        self.ended: Complete | Decline | Dropped | Reason | None = None
        self.changed = asyncio.Event()
        self._pieces: list[str] = []
        self._next = 0
        self._whole = True

    def take(self, note: Delta) -> None:
        """A piece. After a lost one nothing is shown any more until the whole text comes with the end."""
        if self.ended is not None:
            return
        self.began = True
        self.heard_at = asyncio.get_running_loop().time()
        if note.index == self._next and self._whole:
            self._next += 1
            if note.text:
                self._pieces.append(note.text)
        elif note.index > self._next:
            self._whole = False
        self.changed.set()

    def end(self, note: Complete | Decline | Dropped) -> None:
        """The first end counts."""
        if self.ended is None:
            self.ended = note
        self.changed.set()

    def drop(self) -> None:
        """The worker with the connection is gone."""
        self.end(Dropped(offer=""))

    def text(self) -> str:
        """What has come and was not given yet."""
        pieces, self._pieces = self._pieces, []
        return "".join(pieces)


async def set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether it has been set so soon."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
