"""When a process that died may be started again."""

from typing import Final

QUICK_S: Final = 5.0
"""A process that lived shorter than this, and was never ready, died quickly."""
PAUSES_S: Final = (0.0, 0.2, 0.5, 1.0)
"""Before the start after the first, second … quick death in a row; one more is hopeless."""


class Restarts:
    """At once after a real life, with growing pauses after quick deaths, never after five of those in a row.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._due = 0.0
        self._quick_deaths = 0

    @property
    def hopeless(self) -> bool:
        """Whether it is not worth another try."""
        return self._quick_deaths > len(PAUSES_S)

    def started(self, now: float) -> None:
        """Note a start."""
        self._started = now

    def died(self, now: float, *, was_ready: bool = False) -> bool:
        """Note a death, which settles when the next start is due; False when it has been noted before."""
        if self._started is None:
            return False
        if was_ready or now - self._started >= QUICK_S:
            self._quick_deaths = 0
            self._due = now
        else:
            self._quick_deaths += 1
            self._due = now + (0.0 if self.hopeless else PAUSES_S[self._quick_deaths - 1])
        self._started = None
        return True

    def due(self, now: float) -> bool:
        """Whether a dead one may be started now."""
        return not self.hopeless and now >= self._due
