"""What one worker has only so many of: how many of them are one user's."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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
