"""What an operator makes for people and bots, straight in the database."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from hub.auth.accounts import create_account
from hub.auth.api_keys import ApiKeys, NewApiKey
from hub.auth.passwords import Passwords
from hub.domain.errors import NotFound
from hub.store import users
from hub.store.database import Store
from hub.store.users import StoredUser


async def create_user(dsn: str, name: str, password: str | None, *, is_admin: bool) -> StoredUser:
    """A new account; without a password it can only have API keys. Raises `Conflict`, `BadRequest`, `Unavailable`."""
    store, passwords = Store(dsn, pool_size=2), Passwords(threads=1)
    try:
        return await create_account(store, passwords, name, password, is_admin=is_admin)
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
