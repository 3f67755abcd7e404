"""Waits that share the timers of their loop."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hub.engine.timer_wheel import LONG_S, TimerWheel
from tests.engine.clock import ClockLoop


def _run(main: Callable[[], Awaitable[None]]) -> None:
    async def begin() -> None:
        await main()

    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(begin())


@pytest.mark.parametrize("seconds", [0.0004, 0.001, 0.57, 2.0, LONG_S + 1])
def test_waits_until_its_moment_and_a_millisecond_longer_at_most(seconds: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await TimerWheel().until(seconds, loop)
        assert seconds - 1e-5 <= loop.time() <= seconds + 0.001

    _run(main)


def test_each_comes_in_its_turn_whoever_asked_first() -> None:
    async def main() -> None:
        loop, wheel, come = asyncio.get_running_loop(), TimerWheel(), list[float]()

        async def wait(moment: float) -> None:
            await wheel.until(moment, loop)
            come.append(moment)
            assert moment - 1e-5 <= loop.time() <= moment + 0.001

        moments = [0.3, 0.1, 0.2, 0.1004, 0.1, 12.0, 0.05]
        async with asyncio.TaskGroup() as tasks:
            for moment in moments:
                tasks.create_task(wait(moment))
        assert come == sorted(moments)

    _run(main)


def test_one_who_gives_up_is_not_waited_for_and_disturbs_nobody() -> None:
    async def main() -> None:
        loop, wheel, come = asyncio.get_running_loop(), TimerWheel(), list[str]()

        async def wait(name: str, moment: float) -> None:
            await wheel.until(moment, loop)
            come.append(name)

        first, second = loop.create_task(wait("first", 0.1)), loop.create_task(wait("second", 0.1))
        far = loop.create_task(wait("far", LONG_S * 2))
        await asyncio.sleep(0.05)
        first.cancel()
        far.cancel()
        await asyncio.wait((first, second, far))
        assert come == ["second"]
        assert first.cancelled()
        assert far.cancelled()

    _run(main)


def test_who_waits_for_the_past_lets_others_have_their_turn() -> None:
    async def main() -> None:
        loop, others = asyncio.get_running_loop(), list[str]()
        loop.call_soon(others.append, "had its turn")
        await TimerWheel().until(-1, loop)
        assert others == ["had its turn"]

    _run(main)
