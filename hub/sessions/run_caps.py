"""How many runs that have not ended one user and one organisation may have."""

from hub.domain.errors import RateLimited
from hub.domain.ids import OrganisationId, UserId
from hub.store import caps
from hub.store.database import Db

RETRY_AFTER_S = 5.0


class RunCaps:
    """`per_organisation` None: no limit. Far from a limit nobody waits for anybody."""

    def __init__(self, per_user: int, per_organisation: int | None = None) -> None:
        self.per_user = per_user
        self._per_organisation = per_organisation

    @property
    def uncounted(self) -> int:
        """With fewer open runs than this a user may have one more, without a lock or an exact count. 0: not even so."""
        return max(0, self.per_user - caps.NEAR) if self._per_organisation is None else 0

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
