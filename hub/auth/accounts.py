"""People: registering, signing in with a password, staying signed in with refresh tokens, signing out."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hub.auth.attempts import Attempts
from hub.auth.names import clean_name
from hub.auth.passwords import Passwords
from hub.auth.sign_ins import end_credentials
from hub.auth.tokens import Tokens
from hub.domain.errors import Conflict, Forbidden, Unauthenticated
from hub.domain.ids import OrganisationId, UserId, new_id
from hub.domain.organisation import FIRST_ORGANISATION
from hub.domain.principal import Principal
from hub.store import audit, erasing, refresh_tokens, users
from hub.store.database import Db, Store
from hub.store.refresh_tokens import StoredRefreshToken
from hub.store.users import StoredUser

REFRESH_TOKEN_BYTES = 32
REUSE_GRACE = timedelta(seconds=20)  # a client that lost the answer asks again; later it is a theft


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a sign-in gives. `expires_in` is the access token's life in seconds; the refresh token works once."""

    access_token: str
    refresh_token: str
    expires_in: int


async def create_account(
    store: Store,
    passwords: Passwords,
    name: str,
    password: str | None,
    *,
    is_admin: bool = False,
    org: OrganisationId = FIRST_ORGANISATION,
    address: str | None = None,
) -> StoredUser:
    """A new account, at home in `org`; without a password it can only have API keys. No policy is asked.

    Raises `BadRequest` for a name or password that will not do, `Conflict` when the name is taken.
    """
    cleaned = clean_name(name)
    password_hash = await passwords.hash(password) if password is not None else None
    async with store.transaction() as db:
        id_ = await add_account(db, cleaned, password_hash, is_admin=is_admin, org=org, address=address)
        created = await users.by_id(db, id_)
        assert created is not None
    return created


async def add_account(
    db: Db,
    cleaned_name: str,
    password_hash: str | None,
    *,
    is_admin: bool = False,
    org: OrganisationId = FIRST_ORGANISATION,
    address: str | None = None,
    issuer: str | None = None,
) -> UserId:
    """A new account in this transaction; `issuer` is the OpenID provider that knows whose it is. Raises `Conflict`
    when the name is taken, before anything is done."""
    id_ = UserId(new_id())
    await users.create(db, id=id_, name=cleaned_name, password_hash=password_hash, is_admin=is_admin, org=org)
    detail = {"admin": is_admin} | ({"issuer": issuer} if issuer is not None else {})
    await audit.add(db, actor=None, action="user.create", object=f"user:{id_}", address=address, detail=detail)
    return id_


class Accounts:
    """What people do with their accounts.

    `registration_open`: strangers may make an account. `refresh_s` is how long a sign-in lasts without the password, in
    seconds. `announce` is told whose credentials were ended, so that open connections hear of it at once and not only
    at their next check.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        tokens: Tokens,
        attempts: Attempts,
        *,
        registration_open: bool,
        refresh_s: int,
        announce: Callable[[UserId], None] | None = None,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._attempts = attempts
        self.registration_open = registration_open
        self._refresh_life = timedelta(seconds=refresh_s)
        self._announce = announce

    async def register(self, name: str, password: str, *, address: str | None) -> StoredUser:
        """Make an account for a stranger.

        Raises `Forbidden` where registration is closed, `BadRequest` for a name or password that will not do,
        `Conflict` when the name is taken, `RateLimited`.
        """
        if not self.registration_open:
            raise Forbidden("registration is closed on this hub")
        cleaned = clean_name(name)
        await self._attempts.registration(address)
        return await create_account(self._store, self._passwords, cleaned, password, address=address)

    async def sign_in(self, name: str, password: str, *, address: str | None) -> TokenPair:
        """Tokens for a password.

        Raises `Unauthenticated`, in the same words and after the same time for a wrong password, an unknown name and
        a disabled account, and `RateLimited` after many attempts on one account, from one address, or on the hub.
        """
        await self._attempts.sign_in(name, address)
        async with self._store.transaction() as db:
            user = await users.by_name(db, name)
        usable = user if user is not None and user.disabled_at is None else None
        # Outside any transaction: a hash takes longer than all the queries together.
        matches = await self._passwords.verify(password, usable.password_hash if usable else None)
        if usable is None or not matches:
            raise Unauthenticated("wrong name or password")
        # While the hash was computed the password may have been changed, or the user suspended.
        pair = await self.begin(usable.id, usable.auth_version, address=address)
        if pair is None:
            raise Unauthenticated("wrong name or password")
        return pair

    async def begin(
        self, user: UserId, auth_version: int, *, address: str | None, issuer: str | None = None
    ) -> TokenPair | None:
        """Tokens of a new sign-in for who has been recognised, by `issuer` or by a password, when their credentials had
        this version; None when they have ended since."""
        async with self._store.transaction() as db:
            now = await users.by_id(db, user, lock=True)
            if now is None or now.disabled_at is not None or now.auth_version != auth_version:
                return None
            pair = await self._issue(db, now, new_id(), datetime.now(UTC) + self._refresh_life)
            detail = {"issuer": issuer} if issuer is not None else None
            await audit.add(
                db, actor=now.id, action="user.sign_in", object=f"user:{now.id}", address=address, detail=detail
            )
        return pair

    async def change_password(
        self, principal: Principal, password: str, new_password: str, *, address: str | None
    ) -> TokenPair:
        """Another password for the caller, who gives the present one. Every sign-in ends, with its tokens and
        connections; the caller gets tokens of a new one. API keys stay.

        Raises `Forbidden` for a wrong password, `BadRequest` for a new one that will not do, `RateLimited`.
        """
        await self._attempts.sign_in(principal.name, address)
        async with self._store.statements() as db:
            user = await users.by_id(db, principal.user)
        matches = await self._passwords.verify(password, user.password_hash if user is not None else None)
        if user is None or not matches:
            raise Forbidden("wrong password")
        password_hash = await self._passwords.hash(new_password)
        async with self._store.transaction() as db:
            await end_credentials(db, user.id, keys=False)
            changed = await users.by_id(db, user.id)
            if changed is None or changed.disabled_at is not None or changed.auth_version != user.auth_version + 1:
                raise Conflict("the account was changed at the same time: sign in again")
            await users.set_password(db, user.id, password_hash)
            pair = await self._issue(db, changed, new_id(), datetime.now(UTC) + self._refresh_life)
            await audit.add(db, actor=user.id, action="user.password", object=f"user:{user.id}", address=address)
        self._ended(user.id)
        return pair

    async def erase(self, principal: Principal, password: str | None, *, address: str | None) -> None:
        """Nobody is the caller any more, from this moment on: credentials end, connections close, the name is free.
        What is left of them in sessions goes right after (`hub.sessions.erasure`).

        Raises `Forbidden` for a wrong password, and, for who has none, when an API key asks; `RateLimited`.
        """
        await self._attempts.sign_in(principal.name, address)
        async with self._store.statements() as db:
            user = await users.by_id(db, principal.user)
        if user is None:
            raise Unauthenticated("the credential has ended")
        if user.password_hash is None and principal.scopes is not None:
            raise Forbidden("this needs the person, not an API key")
        if user.password_hash is not None and not await self._passwords.verify(password or "", user.password_hash):
            raise Forbidden("wrong password")
        async with self._store.transaction() as db:
            if not await erasing.bury(db, user.id):
                raise Unauthenticated("the credential has ended")
            await audit.add(db, actor=user.id, action="user.erase", object=f"user:{user.id}")
        self._ended(user.id)

    async def refresh(self, refresh_token: str, *, address: str | None) -> TokenPair:
        """New tokens for a refresh token, which is used up.

        A token that comes a second time within 20 s is a client that lost the answer: it gets another pair. Later it
        is a theft, by one side or the other: the whole sign-in ends, with its access tokens and connections.
        Raises `Unauthenticated`, `RateLimited`.
        """
        await self._attempts.refresh(address)
        now = datetime.now(UTC)
        pair, stolen = None, False
        async with self._store.transaction() as db:
            found = await refresh_tokens.by_hash(db, _hash(refresh_token), lock=True)
            if found is not None and found.revoked_at is None and now < found.expires_at:
                stolen = found.used_at is not None and now - found.used_at > REUSE_GRACE
                if stolen:
                    await self._end_stolen(db, found, address)
                else:
                    pair = await self._rotate(db, found)
        # After the COMMIT: the end of a stolen sign-in must not be rolled back by the error that tells of it.
        if stolen and found is not None:
            self._ended(found.user)
        if pair is None:
            raise Unauthenticated("the refresh token is not valid")
        return pair

    async def revoke(self, token: str, *, address: str | None) -> None:
        """Sign out: the sign-in this refresh or access token belongs to ends, with all its tokens and connections.

        An unknown token is no error (RFC 7009): what the caller wants is already so.
        """
        try:
            claims = self._tokens.verify(token)
        except Unauthenticated:
            claims = None
        async with self._store.transaction() as db:
            found = await refresh_tokens.by_hash(db, _hash(token), lock=True) if claims is None else None
            user = claims.user if claims is not None else found.user if found is not None else None
            grant = claims.grant if claims is not None else found.family if found is not None else None
            if user is None or grant is None:
                return
            await refresh_tokens.revoke_family(db, grant)
            await audit.add(db, actor=user, action="user.sign_out", object=f"user:{user}", address=address)
        self._ended(user)

    def _ended(self, user: UserId) -> None:
        if self._announce is not None:
            self._announce(user)

    async def _rotate(self, db: Db, found: StoredRefreshToken) -> TokenPair | None:
        user = await users.by_id(db, found.user)
        if user is None or user.disabled_at is not None:
            return None
        await refresh_tokens.mark_used(db, found.id)
        # The end stays where the password put it: refreshing for ever is not being signed in for ever.
        return await self._issue(db, user, found.family, found.expires_at)

    async def _end_stolen(self, db: Db, found: StoredRefreshToken, address: str | None) -> None:
        await refresh_tokens.revoke_family(db, found.family)
        await audit.add(db, actor=None, action="refresh_token.reuse", object=f"user:{found.user}", address=address)

    async def _issue(self, db: Db, user: StoredUser, grant: str, ends_at: datetime) -> TokenPair:
        refresh_token = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
        await refresh_tokens.insert(
            db, id=new_id(), user=user.id, family=grant, token_hash=_hash(refresh_token), expires_at=ends_at
        )
        access_token = self._tokens.issue(
            user=user.id, name=user.name, is_admin=user.is_admin, auth_version=user.auth_version, grant=grant
        )
        return TokenPair(access_token, refresh_token, self._tokens.lifetime_s)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
