"""Ending an AutoGen team that is in the middle of something."""

import asyncio
from collections.abc import Collection

from autogen_agentchat.teams import BaseGroupChat
from autogen_core import CancellationToken, SingleThreadedAgentRuntime

from hub.engine.tools.outcome import ToolOutcome

GRACE_S = 0.4
ROUND_S = 0.15
ROUNDS = 6  # 1.5 s in all: a stopped turn ends within 2 s
SETTLING_PASSES = 5


async def kill(
    work: asyncio.Task[object],
    token: CancellationToken,
    team: BaseGroupChat | None,
    calls: Collection[asyncio.Task[ToolOutcome]],
) -> None:
    """End `work`, which runs the team, its tool `calls`, and every task that AutoGen has started for it.

    Cancelling `work` alone would wait for the whole run, and the token alone does not reach an agent that hangs: first
    the token, then the runtime's own tasks, as often as something goes on. Who shrugs off all of it is left behind.
    """
    token.cancel()
    await asyncio.wait({work, *calls}, timeout=GRACE_S if team is not None else 0)
    runtime = team._runtime if team is not None else None
    loop = _message_loop(runtime)
    for _ in range(ROUNDS):
        if work.done() and not calls:
            break
        background = runtime._background_tasks if isinstance(runtime, SingleThreadedAgentRuntime) else ()
        for task in [*background, *calls, work]:
            task.cancel()
        await asyncio.wait({work, *calls}, timeout=ROUND_S)
    if loop is not None:
        loop.cancel()
        await asyncio.wait({loop}, timeout=ROUND_S)
    for _ in range(SETTLING_PASSES):  # AutoGen's tasks around a tool call end one after the other
        await asyncio.sleep(0)


def _message_loop(runtime: object) -> asyncio.Task[None] | None:
    if isinstance(runtime, SingleThreadedAgentRuntime) and runtime._run_context is not None:
        return runtime._run_context._run_task
    return None
