"""Refresh tokens, and what ends them."""

import asyncio
import hashlib

import pytest
from sqlalchemy import text

from hub.domain.errors import (
    Unauthenticated,
)
from tests.auth.conftest import HERE, PASSWORD, Auth


async def test_refreshing_rotates(auth: Auth) -> None:
    first = await auth.user()
    second = await auth.accounts.refresh(first.refresh_token, address=HERE)
    third = await auth.accounts.refresh(second.refresh_token, address=HERE)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    await auth.authenticator.bearer(third.access_token)


async def test_only_hashes_are_kept(auth: Auth) -> None:
    pair = await auth.user()
    async with auth.store.transaction() as db:
        rows = (await db.execute(text("SELECT token_hash FROM refresh_tokens"))).scalars()
    assert rows == [hashlib.sha256(pair.refresh_token.encode()).digest()]


async def test_a_lost_answer_locks_nobody_out(auth: Auth) -> None:
    first = await auth.user()
    await auth.accounts.refresh(first.refresh_token, address=HERE)
    again = await auth.accounts.refresh(first.refresh_token, address=HERE)
    await auth.authenticator.bearer(again.access_token)


async def test_racing_refreshes_all_succeed(auth: Auth) -> None:
    first = await auth.user()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(auth.accounts.refresh(first.refresh_token, address=HERE))


async def test_reuse_ends_the_whole_sign_in(auth: Auth) -> None:
    first = await auth.user()
    thief = await auth.accounts.refresh(first.refresh_token, address=HERE)
    other_device = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    open_connection = await auth.authenticator.bearer(thief.access_token)
    await auth.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute' WHERE used_at IS NOT NULL")
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(first.refresh_token, address=HERE)
    for token in (thief.refresh_token, first.refresh_token):
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(token, address=HERE)
    for token in (first.access_token, thief.access_token):
        with pytest.raises(Unauthenticated):
            await auth.authenticator.bearer(token)
    still_open = await auth.authenticator.bearer(other_device.access_token)
    assert await auth.authenticator.ended([open_connection, still_open]) == {open_connection.credential}
    assert "refresh_token.reuse" in await auth.audited()
    assert open_connection.user in auth.announced


async def test_refreshing_does_not_prolong_the_sign_in(auth: Auth) -> None:
    pair = await auth.user()
    await auth.accounts.refresh(pair.refresh_token, address=HERE)
    async with auth.store.transaction() as db:
        ends = (await db.execute(text("SELECT DISTINCT expires_at FROM refresh_tokens"))).scalars()
    assert len(ends) == 1


async def test_refresh_tokens_that_do_not_hold(auth: Auth) -> None:
    pair = await auth.user()
    await auth.execute("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
    for token in (pair.refresh_token, "unknown", "", "\ud800", pair.access_token):
        with pytest.raises(Unauthenticated):
            await auth.accounts.refresh(token, address=HERE)


async def test_a_disabled_user_cannot_refresh(auth: Auth) -> None:
    pair = await auth.user()
    await auth.execute("UPDATE users SET disabled_at = now()")
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(pair.refresh_token, address=HERE)


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
async def test_signing_out_ends_that_sign_in_only(auth: Auth, which: str) -> None:
    here = await auth.user()
    there = await auth.accounts.sign_in("ann", PASSWORD, address=HERE)
    await auth.accounts.revoke(getattr(here, which), address=HERE)
    with pytest.raises(Unauthenticated):
        await auth.authenticator.bearer(here.access_token)
    with pytest.raises(Unauthenticated):
        await auth.accounts.refresh(here.refresh_token, address=HERE)
    principal = await auth.authenticator.bearer(there.access_token)
    assert auth.announced == [principal.user]


async def test_revoking_what_is_unknown_is_no_error(auth: Auth) -> None:
    await auth.accounts.revoke("unknown", address=HERE)
    assert auth.announced == []
