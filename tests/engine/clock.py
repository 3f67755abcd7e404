"""An event loop in which no time is lost."""

import asyncio
import selectors


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop in which time passes when everybody waits for it, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0
        self._real = selectors.DefaultSelector()
        self._real_select = self._real.select
        self._real.select = self._pass  # type: ignore[method-assign]
        super().__init__(self._real)

    def time(self) -> float:
        return self.now

    def _pass(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0
        return self._real_select(0)
