"""What an operator makes for people and bots, straight in the database."""

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from hub.auth.accounts import create_account
from hub.auth.administration import Administration
from hub.auth.api_keys import ApiKeys, NewApiKey
from hub.auth.passwords import Passwords
from hub.cli.paging import every
from hub.domain.errors import NotFound
from hub.domain.ids import OrganisationId, UserId
from hub.domain.organisation import FIRST_ORGANISATION
from hub.sessions.access import find_organisation
from hub.sessions.exporting import Exports
from hub.store import users
from hub.store.api_keys import StoredApiKey
from hub.store.database import Store
from hub.store.users import StoredUser


async def create_user(
    dsn: str, name: str, password: str | None, *, is_admin: bool, org: str | None = None
) -> StoredUser:
    """A new account; without a password it can only have API keys. `org` is the organisation it belongs to, by id or
    name. Raises `Conflict`, `BadRequest`, `NotFound`, `Unavailable`."""
    store, passwords = Store(dsn, pool_size=2), Passwords(threads=1)
    try:
        home = await _organisation(store, org) if org is not None else FIRST_ORGANISATION
        return await create_account(store, passwords, name, password, is_admin=is_admin, org=home)
    finally:
        passwords.close()
        await store.close()


async def create_key(
    dsn: str, user_name: str, *, name: str, scopes: Collection[str] | None, days: int | None
) -> NewApiKey:
    """A key for an existing account, for `days` days. Raises `NotFound`, `BadRequest`, `Unavailable`."""
    store = Store(dsn, pool_size=2)
    try:
        async with store.transaction() as db:
            user = await users.by_name(db, user_name)
        if user is None:
            raise NotFound(f"there is no user {user_name}")
        expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
        return await ApiKeys(store).create_for(user.id, name=name, scopes=scopes, expires_at=expires_at)
    finally:
        await store.close()


async def _organisation(store: Store, org: str) -> OrganisationId:
    async with store.transaction() as db:
        try:
            return await find_organisation(db, org)
        except NotFound:
            raise NotFound(f"there is no organisation {org}") from None


@asynccontextmanager
async def administration(dsn: str) -> AsyncGenerator[Administration]:
    """What an administrator may do, for the operator. Open connections hear of it within seconds by themselves."""
    store = Store(dsn, pool_size=2)
    try:
        yield Administration(store)
    finally:
        await store.close()


async def list_users(dsn: str) -> list[StoredUser]:
    """All accounts, newest first."""
    async with administration(dsn) as admin:
        return await every(lambda limit, cursor: admin.users(None, limit=limit, cursor=cursor))


async def suspend(dsn: str, name: str, *, suspended: bool) -> StoredUser:
    """Suspend an account, or restore it. Raises `NotFound`, `Unavailable`."""
    async with administration(dsn) as admin:
        return await (admin.suspend(None, name) if suspended else admin.restore(None, name))


async def set_password(dsn: str, name: str, password: str) -> StoredUser:
    """Another password; every sign-in ends. Raises `NotFound`, `BadRequest`, `Unavailable`."""
    passwords = Passwords(threads=1)
    try:
        password_hash = await passwords.hash(password)
    finally:
        passwords.close()
    async with administration(dsn) as admin:
        return await admin.set_password(name, password_hash)


async def link_user(dsn: str, name: str, *, issuer: str, subject: str) -> StoredUser:
    """Let somebody sign in with an OpenID provider. Raises `NotFound`, `Conflict`, `BadRequest`, `Unavailable`."""
    async with administration(dsn) as admin:
        return await admin.link(name, issuer=issuer, subject=subject)


async def erase_user(dsn: str, name: str) -> UserId:
    """Bury an account; the hub's workers take what is left of it away. Raises `NotFound`, `Unavailable`."""
    async with administration(dsn) as admin:
        return await admin.erase(None, name)


async def export_user(dsn: str, name: str, write: Callable[[bytes], object]) -> None:
    """Hand everything about an account to `write`, line by line. Raises `NotFound`, `Unavailable`."""
    store = Store(dsn, pool_size=2)
    try:
        async for lines in await Exports(store).user(None, name, address=None):
            write(lines)
    finally:
        await store.close()


async def list_keys(dsn: str, name: str) -> list[StoredApiKey]:
    """The API keys of an account that are not revoked. Raises `NotFound`, `Unavailable`."""
    async with administration(dsn) as admin:
        return await every(lambda limit, cursor: admin.keys(None, name, limit=limit, cursor=cursor))


async def revoke_key(dsn: str, key: str) -> None:
    """End an API key. Raises `NotFound`, `Unavailable`."""
    async with administration(dsn) as admin:
        await admin.revoke_key(None, key)
