"""What the scripted teams are told to say."""

import asyncio

import pytest

from hub.engine.base import Failure
from hub.engine.models.errors import ModelError
from hub.engine.script import Said, Script, plan
from hub.engine.timer_wheel import TimerWheel
from tests.engine.clock import ClockLoop


def test_defaults() -> None:
    assert plan("/script") == Script(turns=2, tokens=20, rate=0, stall_at=-1, fail_at=-1, tool="", key="")


def test_words() -> None:
    script = plan("/script turns=3 tokens=100 rate=50.5 stall_at=2 fail_at=7 tool=counter key=a=b seed=9 history")
    assert script == Script(3, 100, 50.5, 2, 7, "counter", "a=b", 9, history=True)


def test_tokens_say_turn_and_number() -> None:
    assert "".join(plan("/script tokens=3").pieces(1, [])) == "t1.0 t1.1 t1.2 "


@pytest.mark.parametrize("text", ["hello  big\nworld ", "  leading", "one", "/scripted not a script"])
def test_other_text_is_repeated_word_by_word_and_exactly(text: str) -> None:
    script = plan(text)
    pieces = list(script.pieces(0, []))
    assert "".join(pieces) == text
    assert len(pieces) >= len(text.split())
    assert script.length(2, addressed=False) == 2
    assert script.length(2, addressed=True) == 1


@pytest.mark.parametrize(
    "text",
    ["turns=0", "turns=x", "tokens=-1", "tokens=1000001", "rate=fast", "rate=-1", "colour=red", "turns=9999999999999"],
)
def test_a_script_that_cannot_be_read_is_answered_with_the_reason(text: str) -> None:
    script = plan(f"/script {text}")
    assert "".join(script.pieces(0, [])).startswith("This script cannot be read: ")
    assert script.length(2, addressed=False) == 1


def test_history_tells_the_context() -> None:
    context = [Said("bob", "/script history"), Said("alpha", "x" * 30)]
    assert "".join(plan("/script history").pieces(0, context)) == f"2\nbob:/script history\nalpha:{'x' * 20}"
    assert "".join(plan("/script history tokens=1").pieces(1, context)) == "t1.0 "


async def _speak(script: Script, turn: int = 0, idle_s: float = 0) -> tuple[list[str], Failure | None]:
    said: list[str] = []
    loop, wheel = asyncio.get_running_loop(), TimerWheel()
    try:
        for moment, piece in script.steps(turn, [], loop.time, idle_s=idle_s):
            if moment is not None:
                await wheel.until(moment, loop)
            said += [piece] if piece else []
    except ModelError as e:
        return said, e.failure
    return said, None


async def test_stalls_and_fails_in_the_first_turn_only() -> None:
    assert await _speak(plan("/script tokens=5 stall_at=1")) == (["t0.0 ", "t0.1 "], Failure.MODEL_STALLED)
    assert await _speak(plan("/script tokens=5 fail_at=0")) == (["t0.0 "], Failure.MODEL_UNAVAILABLE)
    assert await _speak(plan("/script tokens=2 fail_at=0"), turn=1) == (["t1.0 ", "t1.1 "], None)


def test_rate_paces_by_an_absolute_schedule() -> None:
    async def listen() -> tuple[int, float]:
        said: list[str] = []
        loop, wheel = asyncio.get_running_loop(), TimerWheel()
        for moment, piece in plan("/script tokens=51 rate=100").steps(0, [], loop.time, idle_s=0):
            assert moment is not None
            await wheel.until(moment, loop)
            said.append(piece)
            if len(said) == 5:
                await asyncio.sleep(0.4)  # a slow listener: the tokens that are late by now follow at once
        return len(said), loop.time()

    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        said, seconds = runner.run(listen())
    assert said == 51
    assert seconds == pytest.approx(0.5)


async def test_a_fast_script_lets_others_run() -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await _speak(plan("/script tokens=1000"))
    task.cancel()
    assert others > 20
