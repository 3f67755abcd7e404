"""What Redis says that people hold over all workers, and what they do hold."""

import asyncio
import time
from collections import Counter

from hub.relay.holdings import BEAT_S, LIFE_S
from hub.relay.keys import WORKERS, held
from tests.faults.load import Load
from tests.faults.rig import Rig

# A dead worker counts until its time is over; one that Redis has lost is told again two beats after its return.
TRUTH_S = LIFE_S + 2 * BEAT_S + 5.0


async def differences(hub: Rig, load: Load, *, within_s: float = TRUTH_S) -> list[str]:
    """Where they differ for so long, or longer than documented. Nobody else than `load` is there, and the hub is
    whole."""
    deadline = time.monotonic() + within_s
    while True:
        wrong = await _differences(hub, load)
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(0.5)


async def _differences(hub: Rig, load: Load) -> list[str]:
    open_now = Counter(client.user_id for client in load.connected if client.connected.is_set())
    truth = {held(f"connections:user:{user}"): count for user, count in open_now.items()}
    told = await _counted(hub)
    everybody = held("connections:organisation:")  # all are at home in the first one
    truth |= {key: open_now.total() for key in told if key.startswith(everybody)}
    return [
        f"Redis counts {told.get(key, 0)} of {key.decode()}, there are {truth.get(key, 0)}"
        for key in sorted(truth.keys() | told.keys())
        if told.get(key, 0) != truth.get(key, 0)
    ]


async def _counted(hub: Rig) -> dict[bytes, int]:
    """By holder, what living workers hold."""
    seconds, microseconds = await hub.redis("TIME")
    now = int(seconds) * 1000 + int(microseconds) // 1000
    living = set(await hub.redis("ZRANGEBYSCORE", WORKERS, str(now), "+inf"))
    counted: dict[bytes, int] = {}
    for key in await hub.redis("KEYS", held("*")):
        shares = await hub.redis("HGETALL", key)
        counted[key] = sum(int(count) for worker, count in shares.items() if worker in living)
    return counted
