"""Ending an AutoGen team that is in the middle of something."""

import asyncio

from autogen_core import CancellationToken, SingleThreadedAgentRuntime

from hub.engine.autogen.telling import Telling

GRACE_S = 0.4
ROUND_S = 0.15
ROUNDS = 6  # 1.5 s in all: a stopped turn ends within 2 s
SETTLING_PASSES = 5


async def kill(
    work: asyncio.Task[object],
    token: CancellationToken,
    telling: Telling,
) -> None:
    """End `work`, which runs the team that `telling` knows, and those inside it, with their tool calls and every task
    that AutoGen has started for them.

    Cancelling `work` alone would wait for the whole run, and the token alone does not reach an agent that hangs: first
    the token, then the runtime's own tasks, as often as something goes on. Who shrugs off all of it is left behind.
    """
    token.cancel()
    await asyncio.wait({work, *telling.under_way()}, timeout=GRACE_S if telling.team is not None else 0)
    runtimes = [team._runtime for team in telling.teams()]
    loops = {loop for runtime in runtimes if (loop := _message_loop(runtime)) is not None}
    for _ in range(ROUNDS):
        calls = telling.under_way()
        if work.done() and not calls:
            break
        background = [
            task
            for runtime in runtimes
            if isinstance(runtime, SingleThreadedAgentRuntime)
            for task in runtime._background_tasks
        ]
        for task in [*background, *calls, work]:
            task.cancel()
        await asyncio.wait({work, *calls}, timeout=ROUND_S)
    for loop in loops:
        loop.cancel()
    if loops:
        await asyncio.wait(loops, timeout=ROUND_S)
    for _ in range(SETTLING_PASSES):  # AutoGen's tasks around a tool call end one after the other
        await asyncio.sleep(0)


def _message_loop(runtime: object) -> asyncio.Task[None] | None:
    if isinstance(runtime, SingleThreadedAgentRuntime) and runtime._run_context is not None:
        return runtime._run_context._run_task
    return None
