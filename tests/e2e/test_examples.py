"""The examples of other frameworks, and the adapter between CrewAI and a bot."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.langgraph import ask
from hub_client import Bot, Turn
from hub_client.crews import speaks
from tests.conftest import running_worker, settings_for
from tests.driver import PASSWORD, Door
from tests.runs.conversation import finish
from tests.runs.test_sending import room_for

ROOT = Path(__file__).parents[2]
CREW_PYTHON = ROOT / ".venv-crewai" / "bin" / "python"


async def test_the_langgraph_example_streams(dsn: str, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    more: dict[str, Any] = {
        "teams_dir": ROOT / "examples" / "langgraph",
        "runnables": ("examples.langgraph.team",),
    }
    async with running_worker(settings_for(dsn, redis_url, **more)) as hub:
        assert await ask.main(hub.url, "What is 6*7?") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.endswith(":")] == ["researcher:", "writer:"]
    assert "  [calculator: 42]" in said
    assert any(line.endswith("6*7 = 42.") for line in said)


@pytest.mark.skipif(not CREW_PYTHON.exists(), reason="python3 dev.py example crewai makes .venv-crewai (0.8 GB)")
async def test_the_crewai_example_streams(dsn: str, redis_url: str) -> None:
    """The real CrewAI, in its own environment."""
    async with running_worker(settings_for(dsn, redis_url, teams_dir=ROOT / "examples" / "crewai")) as hub:
        example = await asyncio.create_subprocess_exec(
            CREW_PYTHON,
            *("-m", "examples.crewai.crew", hub.url, "Why is the sky blue?"),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await example.communicate()
    said = output.decode().split("\n")
    assert example.returncode == 0, said
    assert [line.strip() for line in said if line.startswith(("Researcher", "Writer", "I have"))] == [
        "Researcher:",
        "I have thought about it: Why is the sky blue?",
        "Writer:",
        "I have thought about it: Why is the sky blue?",
    ]


# ---- the adapter, on a stand-in with the part of CrewAI's interface that it uses


class Stream:
    """As crewai.types.streaming.CrewStreamingOutput."""

    def __init__(self, pieces: list[tuple[str, str]], hangs: bool) -> None:
        self._pieces = pieces
        self._hangs = hangs
        self.result = SimpleNamespace(raw="the whole answer")
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for role, text in self._pieces:
            await asyncio.sleep(0)
            yield SimpleNamespace(agent_role=role, content=text, chunk_type="text")
        if self._hangs:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed.set()


class Crew:
    """As crewai.Crew."""

    def __init__(self, pieces: list[tuple[str, str]], *, hangs: bool = False) -> None:
        self.stream = False
        self.output = Stream(pieces, hangs)

    async def akickoff(self) -> Stream:
        assert self.stream
        return self.output


def turn(silence_s: float = 60) -> Any:
    signs: list[int] = []
    return SimpleNamespace(data=SimpleNamespace(silence_s=silence_s), signs=signs, working=lambda: signs.append(1))


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([("A", "one "), ("A", "two")], "A:\none two"),
        ([("A", "one"), ("B", "two")], "A:\none\n\nB:\ntwo"),
        ([("A", "Tho"), ("A", "ught: hm\nFinal Ans"), ("A", "wer: it is"), ("A", " so")], "A:\nit is so"),
        ([("A", "Thought: only this")], "A:\nThought: only this"),
        ([("A", "T"), ("A", "here")], "A:\nThere"),
        ([], "the whole answer"),
    ],
)
async def test_the_words_of_a_crew(pieces: list[tuple[str, str]], text: str) -> None:
    crew = Crew(pieces)
    said = [piece async for piece in speaks(lambda _: crew)(turn())]
    assert "".join(said) == text
    assert crew.output.closed.is_set()


async def test_a_crew_that_thinks_for_long_shows_that_it_does() -> None:
    offered = turn(silence_s=0.06)
    speaking = speaks(lambda _: Crew([("A", "x")], hangs=True))(offered)
    assert [await anext(speaking) for _ in range(2)] == ["A:\n", "x"]

    async def next_piece() -> str:
        return await anext(speaking)

    waiting = asyncio.create_task(next_piece())
    async with asyncio.timeout(30):
        while len(offered.signs) < 3:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait({waiting})
    seen = len(offered.signs)
    await asyncio.sleep(0.05)
    assert len(offered.signs) == seen


async def test_a_crew_speaks_in_a_team_and_stops_with_the_run(hub: Door) -> None:
    crews: list[Crew] = []

    def make(offered: Turn) -> Crew:
        crews.append(Crew([("A", f"heard {offered.prompt}")], hangs=offered.prompt == "hang"))
        return crews[-1]

    async with await hub.person("ada") as ada, asyncio.TaskGroup() as tasks:
        bot = Bot(hub.url, name="ada", password=PASSWORD)
        bot.agent("probe")(speaks(make))
        registered = asyncio.Event()
        serving = tasks.create_task(bot.serve(lambda _: registered.set()))
        await registered.wait()
        session = await room_for(ada, "ops")
        sent = await ada.say(session, "hello", to="probe")
        frames = await finish(ada, sent["run"])
        said = [frame["data"]["text"] for frame in frames if frame["type"] == "message.completed"]
        assert said[0] == "A:\nheard hello"
        sent = await ada.say(session, "hang", to="probe")
        await ada.expect("message.delta")
        await ada.ask("run.cancel", session=session)
        await finish(ada, sent["run"])
        async with asyncio.timeout(30):
            await crews[-1].output.closed.wait()
        serving.cancel()
