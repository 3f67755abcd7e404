"""The faults themselves: each breaks something, waits, and makes it whole again. None leaves anything broken."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from hub.domain.ids import new_id
from tests.faults.pressure import (
    flood,
    full_disk,
    full_valkey,
    no_more_files,
    slow_headers,
    starve_node,
    storm_of_sign_ins,
)
from tests.faults.rig import Node, Rig
from tests.faults.rights import suspend_somebody

Fault = Callable[[Rig, random.Random], Awaitable[None]]


def _worker(rig: Rig, rng: random.Random) -> tuple[Node, int]:
    living = [(node, pid) for node in rig.nodes for pid in node.workers()]
    return rng.choice(living)


async def kill_worker(rig: Rig, rng: random.Random) -> None:
    """F1: kill -9 of a worker; its supervisor starts another."""
    _, pid = _worker(rig, rng)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(rng.uniform(0.5, 2))


async def kill_node(rig: Rig, rng: random.Random) -> None:
    """F2, F31: kill -9 of a supervisor and all its workers, then a new start."""
    node = rng.choice(rig.nodes)
    node.kill()
    await asyncio.sleep(rng.uniform(0, 2))
    await node.start()


async def kill_everything(rig: Rig, rng: random.Random) -> None:
    """F2, INV-1: kill -9 of all nodes, of Valkey and of the postmaster, at once."""
    rig.signal_postgres(signal.SIGKILL, all_of_it=True)
    rig.signal_valkey(signal.SIGKILL)
    for node in rig.nodes:
        node.kill()
    await asyncio.sleep(rng.uniform(0, 1))
    await rig.start_postgres()
    await rig.start_valkey()
    for node in rig.nodes:
        await node.start()


async def freeze_worker(rig: Rig, rng: random.Random) -> None:
    """F17, F33: a worker stands still, for less or more than its lease, and goes on."""
    _, pid = _worker(rig, rng)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(rng.choice((0.5, 2, 3 * float(rig.settings.get("HUB_LEASE_S", "15")))))
        os.kill(pid, signal.SIGCONT)


async def restart_node(rig: Rig, rng: random.Random) -> None:
    """F3: SIGTERM, drain, a new start: a rolling restart, one node of it."""
    node = rng.choice(rig.nodes)
    began = time.monotonic()
    code = await node.stop()
    took, grace_s = time.monotonic() - began, float(rig.settings.get("HUB_GRACE_S", "20"))
    await node.start()
    assert code == 0, f"a drained hub ended with {code}"
    assert took < grace_s + 2, f"a drain of at most {grace_s:g} s took {took:.1f} s"


async def drain_without_database(rig: Rig, rng: random.Random) -> None:
    """F4: SIGTERM while nothing that is under way can end, for PostgreSQL is silent."""
    node = rng.choice(rig.nodes)
    node.to_database.freeze()
    await asyncio.sleep(rng.uniform(0, 1))
    began = time.monotonic()
    await node.stop()
    took, grace_s = time.monotonic() - began, float(rig.settings.get("HUB_GRACE_S", "20"))
    node.to_database.cut()
    node.to_database.heal()
    await node.start()
    assert took < grace_s + 2, f"a drain of at most {grace_s:g} s took {took:.1f} s"


async def kill_valkey(rig: Rig, rng: random.Random) -> None:
    """F5: Valkey is killed and comes back empty."""
    rig.signal_valkey(signal.SIGKILL)
    await asyncio.sleep(rng.choice((0.5, 3, 6)))
    await rig.start_valkey()


async def flush_valkey(rig: Rig, rng: random.Random) -> None:
    """F6: all keys gone, or all scripts."""
    await rig.redis(*rng.choice((("FLUSHALL",), ("SCRIPT", "FLUSH"))))


async def freeze_valkey(rig: Rig, rng: random.Random) -> None:
    """F7: Valkey stands still."""
    rig.signal_valkey(signal.SIGSTOP)
    try:
        await asyncio.sleep(rng.choice((1, 4, 9)))
    finally:
        rig.signal_valkey(signal.SIGCONT)


async def kill_subscribers(rig: Rig, rng: random.Random) -> None:
    """F8: the server ends its Pub/Sub connections, as when their buffers overflow."""
    await rig.redis("CLIENT", "KILL", "TYPE", "pubsub")


async def lose_messages(rig: Rig, rng: random.Random) -> None:
    """F8, INV-10: some of what is published never arrives, and nobody is told."""
    node = rng.choice(rig.nodes)
    node.losses.share = rng.choice((0.1, 0.5, 1.0))
    try:
        await asyncio.sleep(rng.uniform(1, 5))
    finally:
        node.losses.share = 0.0


async def publish_junk(rig: Rig, rng: random.Random) -> None:
    """F27: things on the channels that nobody of the hub has said."""
    sessions = [row["id"] for row in await rig.sql("SELECT id::text FROM sessions")]
    for session in sessions:
        for junk in (
            b"",
            b"\x00\xff" * 9,
            b"E 5 -\n{}",
            b"E 99999999 *\n{not json",
            b"D x 0 1 0\n{}",
            b"S x 7 1 0\n",
            b"Z\n{}",
            b"L\n[]",
            b"E -1 -\n{}",
            b"R 999999999 -\n",
        ):
            if junk.startswith(b"E 5"):
                continue  # a well-formed frame under a seq that is due cannot be told from the truth
            await rig.redis("PUBLISH", f"hub:{{{session}}}", session.encode() + b" " + junk)
        # Well-formed, but another session's: shown here it would be a leak.
        await rig.redis("PUBLISH", f"hub:{{{session}}}", f'{new_id()} L\n{{"type":"agent.status"}}'.encode())
    await rig.redis("PUBLISH", "hub:notices", b"junk \xff")


async def kill_backend(rig: Rig, rng: random.Random) -> None:
    """F10: kill -9 of one backend: PostgreSQL ends all of them and recovers."""
    backends = await rig.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'agent-hub'")
    if backends:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(backends)["pid"], signal.SIGKILL)
    await asyncio.sleep(1)


async def stop_postgres(rig: Rig, rng: random.Random) -> None:
    """F11: an immediate stop, and a start after a while."""
    rig.signal_postgres(signal.SIGQUIT)
    await asyncio.sleep(rng.choice((0, 1, 5)))
    await rig.start_postgres()


async def freeze_postgres(rig: Rig, rng: random.Random) -> None:
    """F12: PostgreSQL and all its backends stand still."""
    rig.signal_postgres(signal.SIGSTOP, all_of_it=True)
    try:
        await asyncio.sleep(rng.choice((1, 4, 9)))
    finally:
        rig.signal_postgres(signal.SIGCONT, all_of_it=True)


async def lock_table(rig: Rig, rng: random.Random) -> None:
    """F13: a table is locked by somebody else."""
    await rig.sql("SELECT 1")
    connection = await asyncpg.connect(rig.dsn, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute(
                f"LOCK TABLE {rng.choice(('events', 'runs', 'sessions'))} IN ACCESS EXCLUSIVE MODE"
            )
            await asyncio.sleep(rng.choice((1, 4, 8)))
    finally:
        await connection.close(timeout=5)


async def too_many_connections(rig: Rig, rng: random.Random) -> None:
    """F14: no connection is left; those that are there are ended."""
    for node in rig.nodes:
        await rig.sql(f"ALTER ROLE {node.name} NOSUPERUSER CONNECTION LIMIT 1")
    try:
        await rig.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agent-hub'")
        await asyncio.sleep(rng.uniform(1, 4))
    finally:
        for node in rig.nodes:
            await rig.sql(f"ALTER ROLE {node.name} SUPERUSER CONNECTION LIMIT -1")


async def cut_database(rig: Rig, rng: random.Random) -> None:
    """F16: the connections of one node to PostgreSQL are reset, now and for a while."""
    node = rng.choice(rig.nodes)
    node.to_database.refuse()
    await asyncio.sleep(rng.choice((0.1, 2, 6)))
    node.to_database.heal()


async def blackhole_database(rig: Rig, rng: random.Random) -> None:
    """F12, F16: nothing passes between one node and PostgreSQL; nothing is closed."""
    node = rng.choice(rig.nodes)
    node.to_database.freeze()
    await asyncio.sleep(rng.choice((1, 4, 9)))
    node.to_database.heal()


async def blackhole_redis(rig: Rig, rng: random.Random) -> None:
    """F16: the same for Redis; clients leave meanwhile."""
    node = rng.choice(rig.nodes)
    node.to_redis.freeze()
    await _go_away(node, rng, rng.choice((1, 4, 9)))
    node.to_redis.heal()


async def cut_redis(rig: Rig, rng: random.Random) -> None:
    """F16: one node cannot reach Redis; clients leave meanwhile."""
    node = rng.choice(rig.nodes)
    node.to_redis.refuse()
    await _go_away(node, rng, rng.choice((0.1, 2, 6)))
    node.to_redis.heal()


async def _go_away(node: Node, rng: random.Random, during_s: float) -> None:
    """Some clients of a node do, at some time; wherever they come back, the node has to say later that they went."""
    at = rng.uniform(0.5, 1) * during_s
    await asyncio.sleep(at)
    node.from_clients.cut(rng.choice((0.0, 0.5, 1.0)))
    await asyncio.sleep(during_s - at)


async def half_close(rig: Rig, rng: random.Random) -> None:
    """Half-closed connections, to each side."""
    node = rng.choice(rig.nodes)
    rng.choice((node.from_clients, node.to_redis, node.to_database)).half_close()
    await asyncio.sleep(0.5)


async def cut_clients(rig: Rig, rng: random.Random) -> None:
    """Clients lose their connections, all or some."""
    rng.choice(rig.nodes).from_clients.cut(rng.choice((0.3, 1.0)))


async def half_open_clients(rig: Rig, rng: random.Random) -> None:
    """F19: nothing passes to or from clients of one node, and nothing is closed."""
    node = rng.choice(rig.nodes)
    node.from_clients.freeze()
    await asyncio.sleep(rng.choice((1, 5, 10)))
    node.from_clients.cut()
    node.from_clients.heal()


async def slow_network(rig: Rig, rng: random.Random) -> None:
    """Delays and drips on one kind of connection of one node."""
    node = rng.choice(rig.nodes)
    proxy = rng.choice((node.from_clients, node.to_redis, node.to_database))
    if rng.random() < 0.7 or proxy is not node.from_clients:
        proxy.delay_s = rng.choice((0.02, 0.1, 0.3))
    else:
        proxy.drip = 200
    await asyncio.sleep(rng.uniform(1, 4))
    proxy.heal()


NEMESIS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_node,
        kill_everything,
        freeze_worker,
        restart_node,
        kill_valkey,
        flush_valkey,
        freeze_valkey,
        kill_subscribers,
        lose_messages,
        publish_junk,
        kill_backend,
        stop_postgres,
        freeze_postgres,
        lock_table,
        too_many_connections,
        cut_database,
        blackhole_database,
        blackhole_redis,
        cut_redis,
        half_close,
        cut_clients,
        half_open_clients,
        slow_network,
        full_valkey,
        full_disk,
        starve_node,
        no_more_files,
        slow_headers,
        storm_of_sign_ins,
        flood,
        drain_without_database,
        suspend_somebody,
    )
}
