"""What people in charge do to others while the hub is at work."""

import asyncio
import random
import time

import httpx2

from tests.driver import Door
from tests.faults.checker import ENDED_S
from tests.faults.rig import Rig

OPERATOR = "operator"
PATIENCE_S = 20.0  # with a hub that is still busy with the last fault
LIVE = """
SELECT r.id::text FROM runs r JOIN users u ON u.id = r.requested_by
WHERE u.name = $1 AND r.status NOT IN ('completed', 'failed', 'cancelled') AND r.cancel_reason IS NULL
"""


async def suspend_somebody(rig: Rig, rng: random.Random) -> None:
    """Somebody at work is suspended for longer than rights that have ended may act, and comes back."""
    door = Door(rng.choice(rig.nodes).url)
    operator = await _operator(rig)
    name = rng.choice([name for name in rig.tokens if name != OPERATOR])
    await _ask(door, operator, f"/v1/admin/users/{name}/suspend")
    rig.history.add("ended", user=name)
    await asyncio.sleep(ENDED_S + rng.uniform(0.5, 2))
    left = [row["id"] for row in await rig.sql(LIVE, name)]
    rig.history.add("restored", user=name)
    await _ask(door, operator, f"/v1/admin/users/{name}/restore")
    rig.tokens[name] = await door.sign_in(name)
    assert not left, f"runs of {name}, who was suspended, went on: {left}"


async def _operator(rig: Rig) -> str:
    if OPERATOR not in rig.tokens:
        await rig.register(OPERATOR)
        await rig.sql("UPDATE users SET is_admin = true WHERE name = $1", OPERATOR)
        rig.tokens[OPERATOR] = await Door(rig.nodes[0].url).sign_in(OPERATOR)
    return rig.tokens[OPERATOR]


async def _ask(door: Door, token: str, path: str) -> None:
    """As often as it takes: what had no clear answer may be asked for again."""
    deadline = time.monotonic() + PATIENCE_S
    async with door.rest(token) as rest:
        while True:
            try:
                answer = await rest.post(path)
            except httpx2.HTTPError as e:
                problem = repr(e)
            else:
                if answer.is_success:
                    return
                problem = answer.text
            if time.monotonic() > deadline:
                raise AssertionError(f"{path}: {problem}")
            await asyncio.sleep(0.3)
