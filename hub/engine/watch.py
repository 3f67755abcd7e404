"""Waiting for a turn's work and for whatever may end it early."""

import asyncio

from hub.engine.base import Outcome


async def watch(work: asyncio.Task[object], stop: asyncio.Event, timeout_s: float) -> Outcome | None:
    """None when `work` is done by itself; else how it must end now: `cancelled` or `timeout`. It is not ended here."""
    async with asyncio.TaskGroup() as tasks:
        stopped = tasks.create_task(stop.wait())
        await asyncio.wait({work, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
    if work.done():
        return None
    return Outcome.CANCELLED if stop.is_set() else Outcome.TIMEOUT
