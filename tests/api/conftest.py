"""One hub per module: the API's tests are many and small, and each makes users of its own."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door

ALLOWED_ORIGIN = "https://allowed.example"


@pytest.fixture(scope="module")
async def hub_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """The database of `hub`."""
    dsn = await cluster.clone()
    yield dsn
    await cluster.drop(dsn)


@pytest.fixture(scope="module")
async def hub(hub_dsn: str, valkey_server: str) -> AsyncIterator[Door]:
    """A whole hub that lets pages of `ALLOWED_ORIGIN` call it."""
    client = redis.asyncio.Redis.from_url(valkey_server)
    await client.flushall()
    await client.aclose()
    async with running_worker(settings_for(hub_dsn, valkey_server, allowed_origins=ALLOWED_ORIGIN)) as door:
        yield door
