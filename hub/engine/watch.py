"""Waiting for a turn's work and for whatever may end it early, and ending it."""

import asyncio
from typing import Any

from hub.engine.base import Outcome

ROUNDS = 3
ROUND_S = 0.1  # how long a cancelled task has to end, three times


async def watch(work: asyncio.Task[object], stop: asyncio.Event, timeout_s: float) -> Outcome | None:
    """None when `work` is done by itself; else how it must end now: `cancelled` or `timeout`. It is not ended here."""
    async with asyncio.TaskGroup() as tasks:
        stopped = tasks.create_task(stop.wait())
        await asyncio.wait({work, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
    if work.done():
        return None
    return Outcome.CANCELLED if stop.is_set() else Outcome.TIMEOUT


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel the task until it ends, or for a third of a second: then it is left behind. Who calls this may be
    cancelled meanwhile, and is once this is over."""
    interrupted: asyncio.CancelledError | None = None
    for _ in range(ROUNDS):
        if task.done():
            break
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=ROUND_S)
        except asyncio.CancelledError as e:
            interrupted = e
    if interrupted is not None:
        raise interrupted
