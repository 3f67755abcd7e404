"""One hub per module: the API's tests are many and small, and each makes users of its own."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door

ALLOWED_ORIGIN = "https://allowed.example"


@pytest.fixture(scope="module")
async def hub(cluster: Cluster, valkey_server: str) -> AsyncIterator[Door]:
    """A whole hub that lets pages of `ALLOWED_ORIGIN` call it."""
    client = redis.asyncio.Redis.from_url(valkey_server)
    await client.flushall()
    await client.aclose()
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server, allowed_origins=ALLOWED_ORIGIN)) as door:
        yield door
    await cluster.drop(dsn)
