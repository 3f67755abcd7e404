"""Work that goes on in the background after whoever asked for it was answered."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, TypeVar

import structlog

from hub.domain.errors import HubError

T = TypeVar("T", bound=str)

EVERY_S = 5.0
TAKEN_OVER_S = 5.0  # then the worker that was asked has had its time, and any other one looks


class Backlog(Generic[T]):
    """Works off what has been asked for, one after the other; every worker does, from the beginning when another one
    was lost with it. `name` names it, and `what` one of them, for the log.

    `work` does one, and may be begun anew at any time. `left` gives those that were asked for more than so many seconds
    ago and are not done. Both raise `HubError` for what is tried again.
    """

    def __init__(
        self,
        name: str,
        what: str,
        work: Callable[[T], Awaitable[None]],
        left: Callable[[float], Awaitable[Collection[T]]],
    ) -> None:
        self._what = what
        self._work = work
        self._left = left
        self._asked = asyncio.Event()
        self._own: dict[T, None] = {}  # in the order in which they came
        self._log = structlog.get_logger("hub.sessions").bind(backlog=name)

    def ask(self, one: T) -> None:
        """This one has come here: go on at once."""
        self._own[one] = None
        self._asked.set()

    async def run(self) -> None:
        """Look every 5 s, and at once when asked. Ends only by cancellation."""
        while True:
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                found = await self._left(TAKEN_OVER_S)
            except HubError as e:  # tried again
                self._log.warning("backlog_interrupted", error=e.message)
                continue
            for one in list(self._own | dict.fromkeys(found)):
                self._own.pop(one, None)
                await self._try(one)

    async def _try(self, one: T) -> None:
        """What fails is found again by whoever looks next."""
        try:
            await self._work(one)
        except HubError as e:
            self._log.warning("backlog_interrupted", **{self._what: one}, error=e.message)
        except Exception:  # noqa: BLE001  # boundary: one of them; rows that cannot be read must not stop the others
            self._log.exception("backlog_failed", **{self._what: one})
