"""What has been used: by sessions, and by people over some time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hub.auth.policy import Action, require_account, require_admin
from hub.domain.errors import BadRequest
from hub.domain.ids import UserId
from hub.domain.principal import Principal
from hub.sessions.access import reached, session_id
from hub.store import usage, users
from hub.store.database import Db, Store
from hub.store.usage import ModelUsage

DEFAULT_WINDOW = timedelta(days=30)


class Accounting:
    """Sums of what was recorded when turns ended; what a turn under way uses is not in them yet."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of_session(self, principal: Principal, session: str) -> Sequence[ModelUsage]:
        """What a session has used in all its life, by model."""
        id_ = session_id(session)
        async with self._store.reads(principal, id_) as db:
            found = await usage.of_session(db, id_)
            reached(db, principal, Action.READ)
        return found

    async def own(
        self, principal: Principal, since: datetime | None, until: datetime | None
    ) -> tuple[Sequence[ModelUsage], datetime, datetime]:
        """What the caller's runs have used, by model, and from when to when: the last 30 days if nothing is said.

        Raises `BadRequest` for a time that ends before it begins.
        """
        require_account(principal)
        async with self._store.reads(principal) as db:
            return await _of_user(db, principal.user, since, until)

    async def of_user(
        self, principal: Principal, user: str, since: datetime | None, until: datetime | None
    ) -> tuple[Sequence[ModelUsage], datetime, datetime]:
        """The same of anybody, by id or name, for administrators. Raises `NotFound`."""
        require_admin(principal)
        async with self._store.statements() as db:
            return await _of_user(db, (await users.find(db, user)).id, since, until)


async def _of_user(
    db: Db, user: UserId, since: datetime | None, until: datetime | None
) -> tuple[Sequence[ModelUsage], datetime, datetime]:
    end = until if until is not None else datetime.now(UTC)
    begin = since if since is not None else end - DEFAULT_WINDOW
    if begin >= end:
        raise BadRequest("`until` must be later than `since`")
    return await usage.of_user(db, user, since=begin, until=end), begin, end
