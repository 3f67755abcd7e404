"""What `/readyz` and the metrics say of services that answer, and do not do what is asked of them."""

from contextlib import aclosing

import httpx2
import redis.asyncio

from tests.conftest import Cluster, own_valkey, running_worker, settings_for
from tests.driver import Door
from tests.relay.wiring import eventually_so


async def check(door: Door, name: str) -> str:
    async with httpx2.AsyncClient(base_url=door.url, timeout=30) as rest:
        told = (await rest.get("/readyz")).json()
    state: str = told.get("details", told)["checks"][name]
    return state


async def gauge(door: Door, name: str) -> float:
    async with httpx2.AsyncClient(base_url=door.url, timeout=30) as rest:
        lines = (await rest.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


async def test_a_redis_that_takes_nothing_is_told_and_so_is_its_return(dsn: str) -> None:
    with own_valkey() as url:
        valkey = redis.asyncio.Redis.from_url(url)
        async with running_worker(settings_for(dsn, url)) as door, aclosing(valkey):
            ada = await door.person("ada")
            await eventually_so(lambda: said(door, "redis", "ok"))
            assert await gauge(door, "hub_relay_refuses") == 0
            await valkey.replicaof("127.0.0.1", 1)
            async with ada:
                pass  # that she is gone is told to Redis at once, without waiting for the next beat
            await eventually_so(lambda: said(door, "redis", "degraded"))
            assert await gauge(door, "hub_relay_refuses") == 1
            assert await gauge(door, "hub_relay_connected") == 1
            await valkey.replicaof("NO", "ONE")
            async with await door.enter(ada.token):
                await eventually_so(lambda: said(door, "redis", "ok"))
            assert await gauge(door, "hub_relay_refuses") == 0


async def test_a_standby_is_not_taken_for_the_database(cluster: Cluster, dsn: str, redis_url: str) -> None:
    name = dsn.split("?")[0].rsplit("/", 1)[1]
    async with running_worker(settings_for(dsn, redis_url)) as door:
        assert await gauge(door, "hub_database_connected") == 1
        await cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await eventually_so(lambda: said(door, "postgresql", "down"))
        await cluster.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await eventually_so(lambda: said(door, "postgresql", "ok"))
        await door.register("ann")  # with a connection that was made since


async def said(door: Door, name: str, state: str) -> bool:
    return await check(door, name) == state
