"""How many sessions one user may own, and one organisation may have."""

from hub.domain.errors import Conflict
from hub.domain.ids import OrganisationId, UserId
from hub.store import caps, sessions
from hub.store.database import Db


class SessionCaps:
    """Deleted ones do not count. `per_organisation` None: no limit, and nothing is counted."""

    def __init__(self, per_user: int, per_organisation: int | None = None) -> None:
        self._per_user = per_user
        self._per_organisation = per_organisation

    async def check(self, db: Db, user: UserId) -> None:
        """In the transaction that opens a session, before it does. Far from the limit nobody waits.

        Raises `Conflict` when this user owns so many.
        """
        if await sessions.owned(db, user, most=self._per_user) + caps.NEAR <= self._per_user:
            return
        await caps.lock(db, "sessions", user)
        if await sessions.owned(db, user, most=self._per_user) >= self._per_user:
            raise Conflict("you own too many sessions: delete one first", details={"limit": self._per_user})

    async def check_organisation(self, db: Db, org: OrganisationId) -> None:
        """The same after it, when it is known where: the new one counts, too. Far from the limit nobody waits.

        Raises `Conflict` when the organisation has more than it may.
        """
        most = self._per_organisation
        if most is None or await caps.sessions_of_organisation(db, org, most=most + 1) + caps.NEAR <= most:
            return
        await caps.lock(db, "sessions", org)
        if await caps.sessions_of_organisation(db, org, most=most + 1) > most:
            raise Conflict(
                "the organisation has too many sessions: some have to be deleted first", details={"limit": most}
            )
