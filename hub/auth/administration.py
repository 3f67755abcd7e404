"""What administrators of the hub may do: look at accounts and at the audit trail, suspend, and end credentials.

Nobody acts as somebody else: an administrator has no part in sessions of others and cannot get one here.
"""

from collections.abc import Callable

from hub.auth.oidc.id_tokens import MAX_SUBJECT_CHARACTERS
from hub.auth.policy import require_admin
from hub.auth.sign_ins import end_credentials
from hub.domain.errors import BadRequest, Conflict, NotFound
from hub.domain.ids import UserId, parse_id
from hub.domain.principal import Principal
from hub.store import api_keys, audit, erasing, identities, users
from hub.store.api_keys import StoredApiKey
from hub.store.audit import AuditEntry
from hub.store.database import Db, Store
from hub.store.users import StoredUser


class Administration:
    """Every method takes who does it (`principal`; None: the operator, at the machine) and from where (`address`), for
    the audit trail, and raises `Forbidden` for who is no administrator, and `NotFound`. `user` is an id or a name.
    `announce` is as in `Accounts`."""

    def __init__(self, store: Store, *, announce: Callable[[UserId], None] | None = None) -> None:
        self._store = store
        self._announce = announce

    async def users(
        self, principal: Principal | None, *, limit: int, cursor: str | None
    ) -> tuple[list[StoredUser], str | None]:
        """All accounts, newest first, and the cursor of the next page."""
        _allow(principal)
        async with self._store.statements() as db:
            return await users.page(db, limit=limit, cursor=cursor)

    async def suspend(self, principal: Principal | None, user: str, *, address: str | None = None) -> StoredUser:
        """Nobody is this user any more: tokens end, keys do not work, connections close. Raises `Conflict` for oneself.

        Sessions, memberships and keys stay, for when the user is restored; `Suspension` stops runs.
        """
        _allow(principal)
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            if principal is not None and found.id == principal.user:
                raise Conflict("administrators cannot suspend themselves")
            await users.set_suspended(db, found.id, suspended=True)
            await end_credentials(db, found.id, keys=False)
            changed = await self._audited(db, principal, "user.suspend", found, address)
        self._ended(found.id)
        return changed

    async def restore(self, principal: Principal | None, user: str, *, address: str | None = None) -> StoredUser:
        """The user may sign in again."""
        _allow(principal)
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            await users.set_suspended(db, found.id, suspended=False)
            return await self._audited(db, principal, "user.restore", found, address)

    async def sign_out(
        self, principal: Principal | None, user: str, *, keys: bool, address: str | None = None
    ) -> StoredUser:
        """End every sign-in of the user, and with `keys` every API key."""
        _allow(principal)
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            await end_credentials(db, found.id, keys=keys)
            changed = await self._audited(db, principal, "user.sign_out_everywhere", found, address)
        self._ended(found.id)
        return changed

    async def erase(self, principal: Principal | None, user: str, *, address: str | None = None) -> UserId:
        """Nobody is this user any more, as `Accounts.erase` does it. Raises `Conflict` for oneself."""
        _allow(principal)
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            if principal is not None and found.id == principal.user:
                raise Conflict("administrators erase themselves as everybody does: DELETE /v1/me")
            if not await erasing.bury(db, found.id):
                raise NotFound("no such user")
            actor = principal.user if principal is not None else None
            await audit.add(db, actor=actor, action="user.erase", object=f"user:{found.id}", address=address)
        self._ended(found.id)
        return found.id

    async def set_password(self, user: str, password_hash: str) -> StoredUser:
        """Another password, by the operator; every sign-in ends."""
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            await users.set_password(db, found.id, password_hash)
            await end_credentials(db, found.id, keys=False)
            return await self._audited(db, None, "user.password", found, None)

    async def keys(
        self, principal: Principal | None, user: str, *, limit: int, cursor: str | None
    ) -> tuple[list[StoredApiKey], str | None]:
        """The user's keys that are not revoked, and the cursor of the next page."""
        _allow(principal)
        async with self._store.statements() as db:
            found = await users.find(db, user)
            return await api_keys.page(db, found.id, limit=limit, cursor=cursor)

    async def revoke_key(self, principal: Principal | None, key: str, *, address: str | None = None) -> None:
        """End anybody's API key, and its connections."""
        _allow(principal)
        parsed = parse_id(key)
        async with self._store.transaction() as db:
            found = await api_keys.by_id(db, parsed) if parsed is not None else None
            if found is None or not await api_keys.revoke(db, found.user, found.id):
                raise NotFound("no such API key")
            actor = principal.user if principal is not None else None
            await audit.add(
                db,
                actor=actor,
                action="key.revoke",
                object=f"key:{found.id}",
                address=address,
                detail={"user": found.user},
            )
        self._ended(found.user)

    async def link(self, user: str, *, issuer: str, subject: str) -> StoredUser:
        """Let who is `subject` at this OpenID provider sign in as this user; for the operator only, who knows that they
        are the same. Raises `Conflict` when it is somebody's already, `BadRequest` for what no provider calls anybody.
        """
        if not (0 < len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable()):
            raise BadRequest("that is no subject")
        async with self._store.transaction() as db:
            found = await users.find(db, user)
            if found.disabled_at is not None:
                raise Conflict("the user is suspended")
            await identities.insert(db, issuer, subject, found.id)
            return await self._audited(db, None, "user.link", found, None)

    async def audit(
        self, principal: Principal | None, *, after: int, limit: int, actor: str | None, object: str | None
    ) -> list[AuditEntry]:
        """Entries after the one with this id, oldest first; of one actor or about one object when asked for."""
        _allow(principal)
        parsed = parse_id(actor) if actor is not None else None
        if actor is not None and parsed is None:
            return []
        async with self._store.statements() as db:
            return await audit.page(db, after=after, limit=limit, actor=parsed, object=object)

    async def _audited(
        self, db: Db, principal: Principal | None, action: str, user: StoredUser, address: str | None
    ) -> StoredUser:
        actor = principal.user if principal is not None else None
        await audit.add(db, actor=actor, action=action, object=f"user:{user.id}", address=address)
        changed = await users.by_id(db, user.id)
        assert changed is not None
        return changed

    def _ended(self, user: UserId) -> None:
        if self._announce is not None:
            self._announce(user)


def _allow(principal: Principal | None) -> None:
    if principal is not None:
        require_admin(principal)
