"""Users, API keys and refresh tokens."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from hub.domain.errors import BadRequest, Conflict
from hub.domain.ids import UserId, new_id
from hub.store import api_keys, refresh_tokens, users
from hub.store.database import Db, Store
from tests.store.conftest import make_user, somebody_waits

SOON = datetime.now(UTC) + timedelta(hours=1)


async def test_a_user_is_found_by_id_and_name(store: Store) -> None:
    user = UserId(new_id())
    async with store.transaction() as db:
        await users.create(db, id=user, name="Zoë", password_hash="$argon2", is_admin=True)
        found = await users.by_id(db, user)
        assert found is not None
        assert (found.id, found.name, found.password_hash, found.is_admin) == (user, "Zoë", "$argon2", True)
        assert (found.auth_version, found.disabled_at) == (1, None)
        for name in ("Zoë", "zOË", "Zoe\u0308", "\uff3ao\u00eb"):  # another case, decomposed, full width
            assert await users.by_name(db, name) == found
        for name in ("Zoe", "", "Zo\x00", "\ud800"):
            assert await users.by_name(db, name) is None
        assert await users.by_id(db, UserId(new_id())) is None


@pytest.mark.parametrize("name", ["Straße", "STRASSE", "strasse"])
async def test_names_that_look_alike_are_one(store: Store, name: str) -> None:
    async with store.transaction() as db:
        await make_user(db, "strasse")
        with pytest.raises(Conflict, match="taken"):
            await make_user(db, name)
        await make_user(db, "other")  # a taken name does not spoil the transaction


async def test_auth_versions(store: Store, alice: UserId, bob: UserId) -> None:
    unknown = UserId(new_id())
    async with store.transaction() as db:
        assert await users.bump_auth_version(db, alice) == 2
        assert await users.bump_auth_version(db, unknown) is None
        assert await users.auth_versions(db, [alice, bob, unknown]) == {alice: 2, bob: 1}
        await db.execute(text("UPDATE users SET disabled_at = now() WHERE name = 'Bob'"))
        assert await users.auth_versions(db, {alice, bob}) == {alice: 2}


async def make_key(db: Db, user: UserId, name: str = "bot") -> str:
    key = new_id()
    await api_keys.create(db, id=key, user=user, name=name, secret_hash=b"\x00h", scopes=("a:b", "c"), expires_at=SOON)
    return key


async def test_api_keys(store: Store, alice: UserId, bob: UserId) -> None:
    async with store.transaction() as db:
        key = await make_key(db, alice)
        found = await api_keys.by_id(db, key)
        assert found is not None
        assert (found.id, found.user, found.name, found.secret_hash) == (key, alice, "bot", b"\x00h")
        assert (found.scopes, found.expires_at) == (("a:b", "c"), SOON)
        assert (found.revoked_at, found.last_used_at) == (None, None)
        await api_keys.touch_last_used(db, key)
        assert not await api_keys.revoke(db, bob, key)  # not his
        unknown = new_id()
        assert await api_keys.revoked(db, [key, unknown]) == {unknown}
        assert await api_keys.revoke(db, alice, key)
        assert not await api_keys.revoke(db, alice, key)
        assert await api_keys.revoked(db, {key}) == {key}
        found = await api_keys.by_id(db, key)
        assert found is not None
        assert found.revoked_at is not None
        assert found.last_used_at is not None
        assert await api_keys.by_id(db, unknown) is None


async def test_pages_of_api_keys(store: Store, alice: UserId, bob: UserId) -> None:
    async with store.transaction() as db:
        made = sorted([await make_key(db, alice) for _ in range(5)], reverse=True)
        await make_key(db, bob)
        await api_keys.revoke(db, alice, made.pop(2))
        page, cursor = await api_keys.page(db, alice, limit=3)
        assert [k.id for k in page] == made[:3]
        assert cursor is not None
        page, cursor = await api_keys.page(db, alice, limit=3, cursor=cursor)
        assert [k.id for k in page] == made[3:]
        assert cursor is None


@pytest.mark.parametrize("cursor", ["nonsense", "bm9uc2Vuc2U"])
async def test_a_cursor_of_ones_own_making_is_refused(store: Store, alice: UserId, cursor: str) -> None:
    with pytest.raises(BadRequest):
        async with store.transaction() as db:
            await api_keys.page(db, alice, limit=3, cursor=cursor)


async def make_token(db: Db, user: UserId, family: str, token_hash: bytes) -> str:
    token = new_id()
    await refresh_tokens.insert(db, id=token, user=user, family=family, token_hash=token_hash, expires_at=SOON)
    return token


async def test_a_refresh_token_and_its_first_use(store: Store, alice: UserId) -> None:
    family = new_id()
    async with store.transaction() as db:
        token = await make_token(db, alice, family, b"1")
        found = await refresh_tokens.by_hash(db, b"1")
        assert found is not None
        assert (found.id, found.user, found.family, found.expires_at) == (token, alice, family, SOON)
        assert (found.used_at, found.revoked_at) == (None, None)
        await refresh_tokens.mark_used(db, token)
        first = await refresh_tokens.by_hash(db, b"1", lock=True)
        await refresh_tokens.mark_used(db, token)
        second = await refresh_tokens.by_hash(db, b"1")
        assert first == second
        assert first is not None
        assert first.used_at is not None
        assert await refresh_tokens.by_hash(db, b"?", lock=True) is None


async def test_a_family_ends_together(store: Store, alice: UserId) -> None:
    ended, other = new_id(), new_id()
    async with store.transaction() as db:
        await make_token(db, alice, ended, b"1")
        await make_token(db, alice, other, b"2")
        await refresh_tokens.revoke_family(db, ended)
        await make_token(db, alice, ended, b"3")  # rotated in while the family was being revoked
        assert await refresh_tokens.revoked_families(db, [ended, other]) == {ended}
        found = [await refresh_tokens.by_hash(db, token_hash) for token_hash in (b"1", b"2", b"3")]
        assert [f is not None and f.revoked_at is not None for f in found] == [True, False, True]
        await refresh_tokens.revoke_user(db, alice)
        assert await refresh_tokens.revoked_families(db, {ended, other}) == {ended, other}


async def test_a_locked_token_is_seen_by_one_at_a_time(store: Store, alice: UserId) -> None:
    async with store.transaction() as db:
        await make_token(db, alice, new_id(), b"1")

    async def is_used() -> bool:
        async with store.transaction() as db:
            found = await refresh_tokens.by_hash(db, b"1", lock=True)
            return found is not None and found.used_at is not None

    async with asyncio.TaskGroup() as tasks:
        async with store.transaction() as db:
            first = await refresh_tokens.by_hash(db, b"1", lock=True)
            assert first is not None
            second = tasks.create_task(is_used())
            await somebody_waits(store)
            await refresh_tokens.mark_used(db, first.id)
        assert await second
