"""Where calls of tools run: with a deadline, counted, and ended when nobody waits for them."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from hub.engine.tools.outcome import ToolOutcome
from hub.engine.tools.tool import Arguments, BlockingFunction, ToolContext
from hub.engine.watch import end
from hub.telemetry.times import Times

THREADS = 16  # functions of tools that block, at once and per worker


class Host:
    """Runs calls. One that does not end when it is cancelled is left behind, and does not keep its caller.

    `counts` are calls by tool and by `ok`, `error`, `timeout` or `cancelled`; `times` how long they took.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tool")
        self._tasks: set[asyncio.Task[ToolOutcome]] = set()
        self._in_threads: set[object] = set()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.times = Times()

    @property
    def active(self) -> int:
        """Calls under way, those included that were left behind."""
        return max(len(self._tasks), len(self._in_threads))

    async def carry_out(
        self, tool: str, work: Coroutine[object, object, ToolOutcome], context: ToolContext, timeout_s: float
    ) -> ToolOutcome:
        """The outcome of `work`, or that it took longer than `timeout_s`."""
        began = time.monotonic()
        task = asyncio.get_running_loop().create_task(work, name=f"tool {tool}")  # owned by `_tasks`
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        how = "cancelled"
        try:
            await asyncio.wait({task}, timeout=timeout_s)
            if not task.done():
                how = "timeout"
                outcome = ToolOutcome(f"{tool} did not finish in {timeout_s:g} s", is_error=True)
            elif task.cancelled():
                outcome = ToolOutcome(f"{tool} failed: it was cancelled", is_error=True)
                how = "error"
            else:
                outcome = task.result()
                how = "error" if outcome.is_error else "ok"
        finally:
            context.stop()
            self.counts[tool, how] += 1
            self.times.add(time.monotonic() - began)
            await end(task)
        return outcome

    async def in_thread(self, function: BlockingFunction, arguments: Arguments, context: ToolContext) -> str:
        """Call a function that blocks. A call that nobody waits for any more is not begun; one that was begun runs on
        in its thread, for nothing can end it."""

        copied, mark = copy_context(), object()

        def run() -> str:
            self._in_threads.add(mark)
            try:
                return copied.run(function, arguments, context)
            finally:
                self._in_threads.discard(mark)

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    async def aclose(self) -> None:
        """End all calls; threads that are busy are left to themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for task in list(self._tasks):
            await end(task)
