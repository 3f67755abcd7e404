"""Ending an AutoGen team that is in the middle of something."""

import asyncio

from autogen_agentchat.teams import BaseGroupChat
from autogen_core import CancellationToken, SingleThreadedAgentRuntime

GRACE_S = 0.5
ROUND_S = 0.2
ROUNDS = 6  # 0.5 s + 6 × 0.2 s: under the 2 s in which a stopped turn ends


async def kill(work: asyncio.Task[object], token: CancellationToken, team: BaseGroupChat | None) -> None:
    """End `work`, which runs the team, and every task that AutoGen has started for it.

    Cancelling `work` alone would wait for the whole run, and the token alone does not reach an agent that hangs: first
    the token, then the runtime's own tasks, as often as something goes on.
    """
    token.cancel()
    await asyncio.wait({work}, timeout=GRACE_S if team is not None else 0)
    runtime = team._runtime if team is not None else None
    loop = _message_loop(runtime)
    for _ in range(ROUNDS):
        if work.done():
            break
        if isinstance(runtime, SingleThreadedAgentRuntime):
            for task in list(runtime._background_tasks):
                task.cancel()
        work.cancel()
        await asyncio.wait({work}, timeout=ROUND_S)
    if loop is not None:
        loop.cancel()
        await asyncio.wait({loop}, timeout=ROUND_S)


def _message_loop(runtime: object) -> asyncio.Task[None] | None:
    if isinstance(runtime, SingleThreadedAgentRuntime) and runtime._run_context is not None:
        return runtime._run_context._run_task
    return None
