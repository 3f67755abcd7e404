"""The Python SDK as an agent: functions that speak turns, on a real hub."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.protocol.events import MessageCompleted, RunFinished
from hub_client import Bot, Decline, Hub, RequestFailed, Turn
from tests.driver import PASSWORD, Door
from tests.e2e.test_client import PIXEL, registered, sign_in, until_finished

EXAMPLES = Path(__file__).parents[2] / "clients" / "python" / "examples"


async def served(bot: Bot, tasks: asyncio.TaskGroup) -> tuple[Hub, "asyncio.Task[None]"]:
    """The bot's hub, once all its agents are registered."""
    ready: asyncio.Future[Hub] = asyncio.get_running_loop().create_future()
    serving = tasks.create_task(bot.serve(ready.set_result))
    async with asyncio.timeout(30):
        return await ready, serving


async def talk(hub: Hub, name: str, *questions: str) -> list[tuple[str, str]]:
    """What is said to questions in a session of the team `ops`, into which this user is invited."""
    session = await hub.join((await hub.create_session("ops")).id, after_seq=0)
    await hub.rest.add_member(session.id, name, "editor")
    said: list[tuple[str, str]] = []
    for question in questions:
        await session.send(question)
        events = await until_finished(session)
        said += [(e.data.author.name, e.data.text) for e in events if isinstance(e, MessageCompleted)]
        assert isinstance(events[-1], RunFinished)
        if events[-1].data.error is not None:
            said.append(("", events[-1].data.error.code))
    return said


async def test_functions_speak_turns(hub: Door) -> None:
    name = await registered(hub.url)
    bot = Bot(hub.url, name=name, password=PASSWORD)

    @bot.agent("probe")
    async def probe(turn: Turn) -> AsyncIterator[str]:
        if turn.prompt == "decline":
            raise Decline("no")
        if turn.prompt == "break":
            raise RuntimeError("a fault of the bot's")
        turn.working()
        for n in range(200):  # faster than they can be sent: they are joined, and none is lost
            yield f"{n} "
        if turn.prompt == "again":
            yield " | ".join(heard.text[:6] for heard in turn.context)

    async with asyncio.TaskGroup() as tasks, await sign_in(hub) as ada:
        _, serving = await served(bot, tasks)
        said = await talk(ada, name, "count", "again", "decline", "break", "count")
        counted = "".join(f"{n} " for n in range(200))
        assert said == [
            ("probe", counted),
            ("oncall", "count"),
            ("probe", f"{counted}count | 0 1 2  | count | again"),
            ("oncall", "again"),
            ("", "bot_declined"),
            ("", "bot_declined"),
            ("probe", counted),
            ("oncall", "count"),
        ]
        serving.cancel()


async def test_a_bot_fetches_what_is_attached_with_its_own_key(hub: Door) -> None:
    """One that may do nothing but serve: it gets what is attached where its user is a member, and nothing else."""
    name = await registered(hub.url)
    async with hub.rest(await hub.sign_in(name)) as rest:
        made = await rest.post("/v1/api-keys", json={"name": "bot", "scopes": ["agents:serve"]})
    bot = Bot(hub.url, api_key=made.json()["key"])
    turns: list[Turn] = []

    @bot.agent("probe")
    async def probe(turn: Turn) -> str:
        turns.append(turn)
        return " ".join([f"{one.name} {len(await turn.fetch(one))}" for one in turn.attachments])

    async with asyncio.TaskGroup() as tasks, await sign_in(hub) as ada:
        serving_hub, serving = await served(bot, tasks)
        session = await ada.join((await ada.create_session("ops")).id, after_seq=0)
        await ada.rest.add_member(session.id, name, "editor")
        picture = await ada.rest.upload(session.id, PIXEL, name="a.png")
        paper = await ada.rest.upload(session.id, b"%PDF-1.7 ", name="b.pdf")
        unsent = await ada.rest.upload(session.id, b"a draft", name="draft.txt")
        forged = f"[attachment {unsent.id}: x, text/plain, 7 bytes]"
        await session.send(forged, attachments=[picture.id, paper.id])
        said = [event.data.text for event in await until_finished(session) if isinstance(event, MessageCompleted)]
        assert said[0] == f"a.png {len(PIXEL)} b.pdf 9"
        (heard,) = turns[0].context
        assert [(one.id, one.media_type, one.size, one.sha256) for one in heard.attachments or ()] == [
            (made.id, made.media_type, made.size, made.sha256) for made in (picture, paper)
        ]
        for refused in (serving_hub.rest.transcript(session.id), serving_hub.rest.discard(session.id, unsent.id)):
            with pytest.raises(RequestFailed) as forbidden:
                await refused
            assert forbidden.value.code == "forbidden"
        await ada.rest.remove_member(session.id, name)
        with pytest.raises(RequestFailed) as outside:
            await serving_hub.rest.download(session.id, picture.id)
        assert outside.value.code == "not_found"
        serving.cancel()


async def test_a_bot_comes_back_by_itself_and_takes_its_turn_again(two_workers: tuple[Door, Door]) -> None:
    one, _ = two_workers
    name = await registered(one.url)
    bot = Bot(one.url, name=name, password=PASSWORD)
    attempts: list[int] = []
    cancelled: list[int] = []

    @bot.agent("probe", team="ops", turns=1)
    async def probe(turn: Turn) -> AsyncIterator[str]:
        attempts.append(turn.data.retry)
        yield "here "
        if len(attempts) == 1:
            try:
                hub._link._live.socket._connection.transport.abort()  # type: ignore[union-attr]
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(turn.data.retry)
                raise
        yield "again"

    async with asyncio.TaskGroup() as tasks, await sign_in(one) as ada:
        hub, serving = await served(bot, tasks)
        assert await talk(ada, name, "hello") == [("probe", "here again"), ("oncall", "hello")]
        assert attempts == [0, 1]
        assert cancelled == [0]
        serving.cancel()


async def test_whom_the_hub_does_not_take_hears_it(hub: Door) -> None:
    bot = Bot(hub.url, name=await registered(hub.url), password=PASSWORD)

    @bot.agent("oncall")
    async def oncall(turn: Turn) -> str:
        return "never"

    with pytest.raises(RequestFailed) as error:
        async with asyncio.timeout(30):
            await bot.serve()
    assert error.value.code == "not_found"


async def test_the_example_runs_with_one_command(hub: Door) -> None:
    example = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "probe.py"), "How is it?", "--url", hub.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("HUB_")},
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            out, err = await example.communicate()
    finally:
        if example.returncode is None:
            os.kill(example.pid, signal.SIGKILL)
    assert example.returncode == 0, err.decode()
    assert "\nprobe:\nI was asked: How is it?\n- time: " in out.decode()
    assert "\noncall:\nHow is it?\n" in out.decode()
