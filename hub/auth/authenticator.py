"""From a credential to a principal, by what the database says now."""

import time
from collections.abc import Collection

from hub.auth.api_keys import PREFIX, ApiKeys
from hub.auth.known import Known
from hub.auth.lookups import Lookups
from hub.auth.tickets import Tickets
from hub.auth.tokens import Tokens
from hub.domain.errors import Unauthenticated
from hub.domain.principal import Principal
from hub.store import api_keys, refresh_tokens, users
from hub.store.database import Db, Store


class Authenticator:
    """Checks what callers show. Raises `Unauthenticated` for anything wrong, `Unavailable` when nobody can tell.

    `known` is told every good answer about a token or key."""

    def __init__(self, store: Store, tokens: Tokens, keys: ApiKeys, tickets: Tickets, known: Known) -> None:
        self._store = store
        self._known = known
        self._lookups = Lookups(store)
        self._tokens = tokens
        self._keys = keys
        self._tickets = tickets

    def known(self, token: str) -> Principal | None:
        """Who shows this access token or API key, by what the database said at most 2 s ago; None when it was not asked
        since. For handshakes, because an open socket is watched, and for what asks again with what it reads
        (`Store.reads`)."""
        return self._known.find(token)

    async def bearer(self, token: str) -> Principal:
        """Who shows this access token or API key."""
        asked_at = time.monotonic()
        principal = await self._look(token)
        self._known.keep(token, principal, asked_at)
        return principal

    async def _look(self, token: str) -> Principal:
        if token.startswith(PREFIX):
            async with self._store.statements() as db:
                return await self._keys.verify(db, token)
        claims = self._tokens.verify(token)
        found = await self._lookups.look(claims.user, claims.grant)
        if found is None:
            raise Unauthenticated("the access token is not valid")
        user, grant_ended = found
        if user.disabled_at is not None or user.auth_version != claims.auth_version or grant_ended:
            raise Unauthenticated("the access token was revoked")
        return Principal(
            user=user.id,
            name=user.name,
            is_admin=user.is_admin,
            auth_version=claims.auth_version,
            credential=f"token:{claims.token_id}",
            expires_at=claims.expires_at,
            grant=claims.grant,
            home=user.home,
        )

    async def ticket(self, ticket: str, origin: str | None) -> Principal:
        """Who minted this one-time ticket; `origin` is the handshake's own. The ticket is used up."""
        principal = await self._tickets.take(ticket, origin=origin)
        async with self._store.statements() as db:
            if await ended(db, [principal]):
                raise Unauthenticated("the ticket is not valid")
        return principal

    async def ended(self, principals: Collection[Principal]) -> set[str]:
        """The `credential`s among these that were revoked: by signing out, revoking a key, disabling the user.

        One short transaction for all open connections of a worker; meant to be asked every few seconds. Credentials
        that ran out by time are not looked for: their `expires_at` says so.
        """
        if not principals:
            return set()
        async with self._store.statements() as db:
            return await ended(db, principals)


async def ended(db: Db, principals: Collection[Principal]) -> set[str]:
    """As `Authenticator.ended`, for who is in a transaction already."""
    versions = await users.auth_versions(db, {p.user for p in principals})
    grants = {p.grant for p in principals if p.grant is not None}
    ended_grants = await refresh_tokens.revoked_families(db, grants) if grants else set()
    keys = {p.credential.removeprefix("key:") for p in principals if p.credential.startswith("key:")}
    ended_keys = await api_keys.revoked(db, keys) if keys else set()

    def has_ended(p: Principal) -> bool:
        version = versions.get(p.user)
        if version is None:  # the user is suspended or gone
            return True
        if p.credential.startswith("key:"):  # it ends by itself: another password is none of its business
            return p.credential.removeprefix("key:") in ended_keys
        return version != p.auth_version or p.grant in ended_grants

    return {p.credential for p in principals if has_ended(p)}
