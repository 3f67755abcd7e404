"""Where somebody is signed in, and ending that: here, there, or everywhere."""

from collections.abc import Callable

from hub.domain.errors import NotFound
from hub.domain.ids import UserId, parse_id
from hub.domain.principal import Principal
from hub.store import api_keys, audit, refresh_tokens, users
from hub.store.database import Db, Store
from hub.store.refresh_tokens import SignIn


class SignIns:
    """What people do about their sign-ins. `announce` is told whose credentials were ended, as in `Accounts`."""

    def __init__(self, store: Store, *, announce: Callable[[UserId], None] | None = None) -> None:
        self._store = store
        self._announce = announce

    async def list(self, principal: Principal) -> list[SignIn]:
        """The caller's sign-ins that have not ended, the last used one first."""
        async with self._store.statements() as db:
            return await refresh_tokens.sign_ins(db, principal.user)

    async def end(self, principal: Principal, sign_in: str, *, address: str | None) -> None:
        """End one of the caller's sign-ins, with its tokens and connections. Raises `NotFound`."""
        parsed = parse_id(sign_in)
        if parsed is None:
            raise NotFound("no such sign-in")
        async with self._store.transaction() as db:
            if not await refresh_tokens.revoke_sign_in(db, principal.user, parsed):
                raise NotFound("no such sign-in")
            await audit.add(
                db, actor=principal.user, action="user.sign_out", object=f"user:{principal.user}", address=address
            )
        self._ended(principal.user)

    async def end_all(self, principal: Principal, *, keys: bool, address: str | None) -> None:
        """End every sign-in of the caller, this one too, and with `keys` every API key."""
        async with self._store.transaction() as db:
            await end_credentials(db, principal.user, keys=keys)
            await audit.add(
                db,
                actor=principal.user,
                action="user.sign_out_everywhere",
                object=f"user:{principal.user}",
                address=address,
                detail={"keys": keys},
            )
        self._ended(principal.user)

    def _ended(self, user: UserId) -> None:
        if self._announce is not None:
            self._announce(user)


async def end_credentials(db: Db, user: UserId, *, keys: bool) -> None:
    """End what the user has been given: all access and refresh tokens, and with `keys` all API keys."""
    # First the version: it locks the user, and whoever is just giving them a credential looks at it again.
    await users.bump_auth_version(db, user)
    await refresh_tokens.revoke_user(db, user)
    if keys:
        await api_keys.revoke_all(db, user)
