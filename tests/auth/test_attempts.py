"""How often somebody may try, each limit by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hub.auth.attempts import ACCOUNT_BURST, ADDRESS_BURST, PAIR_BURST, Attempts
from hub.domain.errors import RateLimited
from hub.relay.connection import Redis
from hub.relay.limits import Limits

HERE = "192.0.2.1"
HUB_BURST = 60
MORE = 40  # tries beyond a burst; on a busy machine some come back meanwhile


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[Limits]:
    redis = Redis(redis_url)
    yield Limits(redis)
    await redis.close()


@pytest.fixture
def attempts(limits: Limits) -> Attempts:
    return Attempts(limits, hub_per_minute=6_000, hub_burst=6_000)


async def allowed(once: Callable[[int], Awaitable[None]], tries: int) -> int:
    at_once = asyncio.Semaphore(16)  # more would wait so long for Redis on a busy machine that it counts as away

    async def is_allowed(number: int) -> bool:
        try:
            async with at_once:
                await once(number)
        except RateLimited:
            return False
        return True

    return sum(await asyncio.gather(*(is_allowed(number) for number in range(tries))))


def address(number: int) -> str:
    return f"10.{number // 250}.{number % 250}.1"


async def test_one_account_from_everywhere_however_it_is_spelt(attempts: Attempts) -> None:
    async def guess(number: int) -> None:
        await attempts.sign_in("Ann" if number % 2 else "ann", address(number))

    assert ACCOUNT_BURST <= await allowed(guess, ACCOUNT_BURST + MORE) < ACCOUNT_BURST + MORE
    await attempts.sign_in("bob", address(0))


async def test_one_account_from_one_address(attempts: Attempts) -> None:
    assert PAIR_BURST <= await allowed(lambda _: attempts.sign_in("ann", HERE), PAIR_BURST + MORE) < PAIR_BURST + MORE
    await attempts.sign_in("ann", address(0))
    await attempts.sign_in("bob", HERE)


@pytest.mark.parametrize("where", [HERE, "2001:db8::{:x}"])  # of IPv6 a network is one address
async def test_many_accounts_from_one_address(attempts: Attempts, where: str) -> None:
    async def guess(number: int) -> None:
        await attempts.sign_in(f"user-{number}", where.format(number))

    assert ADDRESS_BURST <= await allowed(guess, ADDRESS_BURST + 2 * MORE) < ADDRESS_BURST + 2 * MORE
    await attempts.sign_in("user-1", address(0))


async def test_new_accounts_from_one_address(attempts: Attempts) -> None:
    got = await allowed(lambda _: attempts.registration(HERE), ADDRESS_BURST + 2 * MORE)
    assert ADDRESS_BURST <= got < ADDRESS_BURST + 2 * MORE
    await attempts.registration(address(0))


async def test_many_accounts_from_everywhere(limits: Limits) -> None:
    attempts = Attempts(limits, hub_per_minute=60, hub_burst=HUB_BURST)

    async def guess(number: int) -> None:
        await attempts.sign_in(f"user-{number}", address(number))

    assert HUB_BURST <= await allowed(guess, HUB_BURST + MORE) < HUB_BURST + MORE
