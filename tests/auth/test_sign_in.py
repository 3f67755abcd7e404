"""Registering and signing in, and that nobody learns by it who exists."""

import asyncio

import pytest

from hub.auth.accounts import create_account
from hub.auth.attempts import PAIR_BURST
from hub.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    HubError,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from hub.relay.connection import Redis
from hub.store.database import Store
from tests.auth.conftest import HERE, PASSWORD, Auth, wire


async def test_register_sign_in_and_be_known(auth: Auth) -> None:
    made = await auth.accounts.register("Ann", PASSWORD, address=HERE)
    pair = await auth.accounts.sign_in("aNN", PASSWORD, address=HERE)
    principal = await auth.authenticator.bearer(pair.access_token)
    assert (principal.user, principal.name, principal.scopes) == (made.id, "Ann", None)
    assert principal.credential.startswith("token:")
    assert pair.expires_in == 900
    assert await auth.audited() == ["user.create", "user.sign_in"]


async def test_a_name_is_taken_whatever_its_case(auth: Auth) -> None:
    await auth.accounts.register("Ann", PASSWORD, address=HERE)
    with pytest.raises(Conflict):
        await auth.accounts.register("ANN", PASSWORD, address=HERE)


async def test_closed_registration(auth: Auth) -> None:
    with pytest.raises(Forbidden):
        await auth.closed.register("ann", PASSWORD, address=HERE)
    made = await create_account(auth.store, auth.passwords, "ann", PASSWORD, is_admin=True)
    assert made.is_admin


@pytest.mark.parametrize(
    ("name", "password"), [(" ann", PASSWORD), ("ann", "short"), ("0190b5a0-0000-7000-8000-000000000000", PASSWORD)]
)
async def test_a_bad_name_or_password(auth: Auth, name: str, password: str) -> None:
    with pytest.raises(BadRequest):
        await auth.accounts.register(name, password, address=HERE)


async def test_every_way_not_to_sign_in_looks_the_same(auth: Auth) -> None:
    for name in ("ann", "off"):
        await auth.accounts.register(name, PASSWORD, address=HERE)
    await create_account(auth.store, auth.passwords, "bot", None)
    await auth.execute("UPDATE users SET disabled_at = now() WHERE name = 'off'")
    answers = set()
    for name, password in (("ann", "wrong password"), ("eve", PASSWORD), ("off", PASSWORD), ("bot", ""), ("\x00", "x")):
        with pytest.raises(Unauthenticated) as refused:
            await auth.accounts.sign_in(name, password, address=HERE)
        answers.add((refused.value.message, str(refused.value.details)))
    assert len(answers) == 1


async def test_guessing_is_throttled_and_others_are_not(auth: Auth) -> None:
    await auth.user("ann")
    await auth.user("bob")

    async def guess(_: int) -> type[HubError]:
        try:
            await auth.accounts.sign_in("ann", "wrong password", address=HERE)
        except HubError as error:
            return type(error)
        raise AssertionError

    async with asyncio.TaskGroup() as tasks:
        guesses = [tasks.create_task(guess(n)) for n in range(PAIR_BURST + 10)]
    outcomes = [task.result() for task in guesses]
    assert outcomes.count(RateLimited) >= 5

    async def tries() -> None:
        # One comes back every five seconds: on a busy machine, while the guesses were computed.
        for _ in range(4):
            await auth.accounts.sign_in("ann", PASSWORD, address=HERE)

    with pytest.raises(RateLimited) as refused:
        await tries()
    assert refused.value.retry_after
    await auth.accounts.sign_in("bob", PASSWORD, address=HERE)
    await auth.accounts.sign_in("ann", PASSWORD, address="192.0.2.2")


async def test_without_redis_nobody_signs_in_but_who_is_signed_in_stays(auth: Auth, store: Store) -> None:
    pair = await auth.user()
    redis = Redis("unix:///nowhere/valkey.sock")
    try:
        lonely = wire(store, redis, auth.passwords)
        with pytest.raises((RateLimited, Unavailable)):
            await lonely.accounts.sign_in("ann", PASSWORD, address=HERE)
        with pytest.raises(Unavailable):
            await lonely.tickets.mint(await lonely.authenticator.bearer(pair.access_token), origin=None)
        again = await lonely.accounts.refresh(pair.refresh_token, address=HERE)
        await lonely.authenticator.bearer(again.access_token)
    finally:
        await redis.close()


async def test_every_refused_sign_in_costs_one_hash(auth: Auth) -> None:
    """What takes long is the hash, so counting hashes says more about timing than a clock on a busy machine."""
    for name in ("ann", "off"):
        await auth.accounts.register(name, PASSWORD, address=HERE)
    await create_account(auth.store, auth.passwords, "bot", None)
    await auth.execute("UPDATE users SET disabled_at = now() WHERE name = 'off'")
    for name, password in (
        ("ann", "wrong password"),
        ("eve", PASSWORD),
        ("off", PASSWORD),
        ("bot", PASSWORD),
        ("ann", ""),
        ("eve", ""),
        ("ann", "x" * 1024),
        ("eve", "x" * 1024),
        ("", PASSWORD),
    ):
        before = auth.passwords.computed
        with pytest.raises(Unauthenticated):
            await auth.accounts.sign_in(name, password, address=HERE)
        assert auth.passwords.computed - before == 1, (name, password[:10])


async def test_the_hash_of_nobody_costs_what_the_hash_of_somebody_does(auth: Auth) -> None:
    """The same parameters are in both: what a clock would measure."""
    made = await auth.passwords.hash(PASSWORD)
    assert auth.passwords.dummy.split("$")[:4] == made.split("$")[:4]
