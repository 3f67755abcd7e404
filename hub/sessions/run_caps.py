"""How many runs that have not ended one user and one organisation may have."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from hub.domain.errors import RateLimited
from hub.domain.ids import OrganisationId, UserId
from hub.store import caps
from hub.store.database import Db

RETRY_AFTER_S = 5.0
LATELY_S = 1.0
MANY = 1_000  # a cap from which on a few workers with `NEAR` runs each do not come from half of it to all
MAX_KNOWN = 10_000  # users


@dataclass(slots=True)
class _Few:
    """A user was counted and had less than half of what they may; `left` runs more are not counted for that."""

    seen_at: float
    left: int


class RunCaps:
    """`per_organisation` None: no limit. Far from a limit nobody waits for anybody, and nobody counts every time: who
    has hundreds of runs open, as a bot that serves many, would be counted with each message."""

    def __init__(self, per_user: int, per_organisation: int | None = None, *, lately_s: float = LATELY_S) -> None:
        self.per_user = per_user
        self._lately_s = lately_s
        self._per_organisation = per_organisation
        self._uncounted = max(0, per_user - caps.NEAR) if per_organisation is None else 0
        self._few: OrderedDict[UserId, _Few] = OrderedDict()

    @property
    def always_counts(self) -> bool:
        """Whether no run may be added without `check`."""
        return not self._uncounted

    def bound(self, user: UserId) -> int | None:
        """With fewer open runs than this the user may have one more, without a lock or an exact count. None: they need
        not be counted now."""
        if self.per_user < MANY:
            return self._uncounted
        few = self._few.get(user)
        if few is None or few.left <= 0 or time.monotonic() - few.seen_at >= self._lately_s:
            return self._uncounted // 2
        few.left -= 1
        return None

    def is_below(self, user: UserId) -> None:
        """They have been counted, and had fewer than `bound`."""
        self._few[user] = _Few(time.monotonic(), caps.NEAR)
        self._few.move_to_end(user)
        if len(self._few) > MAX_KNOWN:
            self._few.popitem(last=False)

    async def check(self, db: Db, user: UserId, org: OrganisationId, *, seen: int | None = None) -> None:
        """In the transaction that adds a run. `seen` is how many the user had a moment ago, if that is known.

        Raises `RateLimited` when the user or the organisation has all they may have.
        """
        if seen is None or seen + caps.NEAR >= self.per_user:
            await caps.lock(db, "runs", user)
            if await caps.runs_of_user(db, user, most=self.per_user) >= self.per_user:
                raise _too_many("too many of your runs are open: let some end, or stop them", self.per_user)
        most = self._per_organisation
        if most is not None and await caps.runs_of_organisation(db, org, most=most) + caps.NEAR >= most:
            await caps.lock(db, "runs", org)
            if await caps.runs_of_organisation(db, org, most=most) >= most:
                raise _too_many("too many runs of the organisation are open: let some end, or stop them", most)


def _too_many(message: str, limit: int) -> RateLimited:
    return RateLimited(message, retry_after=RETRY_AFTER_S, details={"limit": limit})
