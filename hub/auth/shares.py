"""What one worker has only so many of: how many of them are one user's."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from hub.domain.errors import RateLimited
from hub.domain.ids import UserId

RETRY_AFTER_S = 5.0


class Shares:
    """Counts what each user holds of something, so that nobody takes it all. `what` names it for people, in plural."""

    def __init__(self, what: str, each: int) -> None:
        self._what = what
        self._each = each
        self._held = Counter[UserId]()

    def take(self, user: UserId) -> None:
        """One more for this user; `give_back` is owed. Raises `RateLimited` when they hold what one user may."""
        if self._held.get(user, 0) >= self._each:
            raise RateLimited(
                f"too many {self._what} of one user: close one first",
                retry_after=RETRY_AFTER_S,
                details={"limit": self._each},
            )
        self._held[user] += 1

    def give_back(self, user: UserId) -> None:
        """One of them is free again."""
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]

    @contextmanager
    def held(self, user: UserId) -> Iterator[None]:
        """`take`, and `give_back` at the end."""
        self.take(user)
        try:
            yield
        finally:
            self.give_back(user)


class Turns:
    """Does `at_once` of something at once, and `each` of them for one user; who comes then waits for a turn. Of one
    user `most` may be under way and wait."""

    def __init__(self, what: str, *, at_once: int, each: int, most: int) -> None:
        self._here = Shares(what, most)
        self._all = asyncio.Semaphore(at_once)
        self._each = each
        self._own = WeakValueDictionary[UserId, asyncio.Semaphore]()  # of who has something here

    @asynccontextmanager
    async def turn(self, user: UserId) -> AsyncGenerator[None]:
        """Wait for a turn of this user's, and have it. Raises `RateLimited` when they have too many here."""
        with self._here.held(user):
            own = self._own.get(user)
            if own is None:
                own = self._own[user] = asyncio.Semaphore(self._each)
            async with own, self._all:  # in this order: who waits for themselves is in nobody's way
                yield
