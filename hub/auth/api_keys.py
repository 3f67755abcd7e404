"""API keys for bots: `hub_<id>_<secret>`, shown once, of which only a hash is kept."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hub.auth.policy import DEFAULT_SCOPES, Scope, require_account
from hub.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthenticated
from hub.domain.ids import UserId, new_id, parse_id
from hub.domain.principal import Principal
from hub.store import api_keys, audit, caps, users
from hub.store.api_keys import StoredApiKey
from hub.store.database import Db, Store

PREFIX = "hub_"
SECRET_BYTES = 32
DEFAULT_LIFETIME = timedelta(days=90)
MAX_LIFETIME = timedelta(days=366)
USE_IS_RECORDED_EVERY = timedelta(minutes=1)  # not with every call: it would be a write per request

_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_NO_HASH = bytes(hashlib.sha256().digest_size)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made: the only moment its secret can be seen."""

    id: str
    name: str
    key: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime


class ApiKeys:
    """Makes, lists, revokes and checks API keys. Whoever has `per_user` keys makes no more. `announce` is told whose
    key was ended, as in `Accounts`."""

    def __init__(
        self, store: Store, *, per_user: int = 10_000, announce: Callable[[UserId], None] | None = None
    ) -> None:
        self._store = store
        self._per_user = per_user
        self._announce = announce

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        scopes: Collection[str] | None = None,
        expires_at: datetime | None = None,
        address: str | None = None,
    ) -> NewApiKey:
        """A key of the caller's own. Raises `Forbidden` for a caller whose own key has no `admin`, or fewer scopes,
        and `Conflict` when they have too many keys that neither have ended nor are revoked."""
        require_account(principal)
        wanted = _known_scopes(scopes)
        if principal.scopes is not None and not principal.scopes.issuperset(wanted):
            raise Forbidden("an API key cannot make one with more scopes than its own")
        return await self._insert(principal, principal.user, name, wanted, expires_at, address)

    async def create_for(
        self,
        user: UserId,
        *,
        name: str,
        scopes: Collection[str] | None = None,
        expires_at: datetime | None = None,
    ) -> NewApiKey:
        """A key for somebody, made by the operator of the hub: no policy is asked."""
        return await self._insert(None, user, name, _known_scopes(scopes), expires_at, None)

    async def page(
        self, principal: Principal, *, limit: int, cursor: str | None
    ) -> tuple[list[StoredApiKey], str | None]:
        """The caller's keys that are not revoked, and the cursor of the next page."""
        require_account(principal)
        async with self._store.transaction() as db:
            return await api_keys.page(db, principal.user, limit=limit, cursor=cursor)

    async def revoke(self, principal: Principal, key_id: str, *, address: str | None = None) -> None:
        """End one of the caller's keys, and with it every connection that shows it. Raises `NotFound`."""
        require_account(principal)
        parsed = parse_id(key_id)
        if parsed is None:
            raise NotFound("no such API key")
        async with self._store.transaction() as db:
            if not await api_keys.revoke(db, principal.user, parsed):
                raise NotFound("no such API key")
            await audit.add(db, actor=principal.user, action="key.revoke", object=f"key:{parsed}", address=address)
        if self._announce is not None:
            self._announce(principal.user)

    async def verify(self, db: Db, key: str) -> Principal:
        """Who shows this key. Raises `Unauthenticated` for one that is unknown, ended or revoked."""
        if not key.isascii():
            raise Unauthenticated("the API key is not valid")
        key_id, _, secret = key.removeprefix(PREFIX).partition("_")
        parsed = parse_id(key_id)
        found = await api_keys.shown(db, parsed) if parsed is not None else None
        matches = hmac.compare_digest(_hash(secret), found[0].secret_hash if found is not None else _NO_HASH)
        if found is None or not matches:
            raise Unauthenticated("the API key is not valid")
        stored, owner = found
        if stored.revoked_at is not None or owner.disabled_at is not None:
            raise Unauthenticated("the API key is not valid")
        now = datetime.now(UTC)
        expires_at = stored.expires_at or _NEVER
        if expires_at <= now:
            raise Unauthenticated("the API key has ended")
        if stored.last_used_at is None or now - stored.last_used_at > USE_IS_RECORDED_EVERY:
            await api_keys.touch_last_used(db, stored.id)
        return Principal(
            user=owner.id,
            name=owner.name,
            is_admin=owner.is_admin,
            auth_version=owner.auth_version,
            credential=f"key:{stored.id}",
            expires_at=expires_at,
            scopes=frozenset(stored.scopes),
            home=owner.home,
        )

    async def _insert(
        self,
        maker: Principal | None,
        user: UserId,
        name: str,
        scopes: tuple[str, ...],
        expires_at: datetime | None,
        address: str | None,
    ) -> NewApiKey:
        now = datetime.now(UTC)
        if expires_at is not None and not now < expires_at <= now + MAX_LIFETIME:
            raise BadRequest(f"expires_at must lie in the next {MAX_LIFETIME.days} days")
        ends = expires_at or now + DEFAULT_LIFETIME
        id_, secret = new_id(), secrets.token_urlsafe(SECRET_BYTES)
        async with self._store.transaction() as db:
            owner = await users.by_id(db, user, lock=True)
            # Who is just being signed out everywhere must not come back by a key made in the same moment.
            if maker is not None and (owner is None or owner.auth_version != maker.auth_version):
                raise Unauthenticated("the credential has ended")
            if maker is not None:
                await caps.lock(db, "keys", user)
                if await caps.keys_of_user(db, user, most=self._per_user) >= self._per_user:
                    raise Conflict("you have too many API keys: revoke one first", details={"limit": self._per_user})
            await api_keys.create(
                db, id=id_, user=user, name=name, secret_hash=_hash(secret), scopes=list(scopes), expires_at=ends
            )
            await audit.add(
                db,
                actor=maker.user if maker is not None else None,
                action="key.create",
                object=f"key:{id_}",
                address=address,
                detail={"user": user, "scopes": list(scopes)},
            )
        return NewApiKey(id_, name, f"{PREFIX}{id_}_{secret}", scopes, now, ends)


def _known_scopes(scopes: Collection[str] | None) -> tuple[str, ...]:
    if scopes is None:
        return tuple(sorted(scope.value for scope in DEFAULT_SCOPES))
    known = {scope.value for scope in Scope}
    unknown = sorted(set(scopes) - known)
    if unknown or not scopes:
        raise BadRequest("unknown scope" if unknown else "a key needs a scope", details={"scopes": sorted(known)})
    return tuple(sorted(set(scopes)))


def _hash(secret: str) -> bytes:
    # A fast hash is right for 256 random bits; a slow one would cost every call of a bot.
    return hashlib.sha256(secret.encode()).digest()
