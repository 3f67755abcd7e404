"""A worker that leaves while it claims, and while a tool is called."""

import asyncio

from hub.app import Worker
from hub.store.database import Store
from tests.conftest import running_worker, settings_for
from tests.runs.test_inputs import counted, locked_counter
from tests.runs.test_sending import room_for


async def everything_else_waits() -> None:
    """Let every task of this process come as far as it can without an answer from elsewhere."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_run_claimed_while_the_drain_begins_is_handed_over_too(dsn: str, redis_url: str) -> None:
    stays = settings_for(dsn, redis_url, role="gateway")
    runner = settings_for(dsn, redis_url, role="runner", database_pool=2)
    async with running_worker(stays, "test:1:a") as door, await door.person() as ada:
        session = await room_for(ada)
        await ada.say(session, "/script turns=3 tokens=10 rate=100")
        async with asyncio.TaskGroup() as tasks:
            leaves = Worker(runner, "test:2:b", tasks)
            claiming = tasks.create_task(leaves.runs.executor.run())
            try:
                async with leaves.store.statements(), leaves.store.statements():  # its claim waits for a connection
                    leaves.runs.executor.wake()
                    await everything_else_waits()
                    draining = tasks.create_task(leaves.runs.executor.drain(10))
                    await everything_else_waits()
                    assert not draining.done()
                assert (await ada.expect("run.started", attempt=1))["data"]["node"] == "test:2:b"
                await draining
                assert leaves.runs.executor.active == 0
            finally:
                claiming.cancel()
                await leaves.close()
        async with running_worker(settings_for(dsn, redis_url, role="runner"), "test:3:c"):
            assert (await ada.expect("run.started", attempt=2))["data"]["node"] == "test:3:c"
            await ada.expect("run.finished", status="completed")
        completed = [f["data"]["turn"] for f in ada.seen if f["type"] == "message.completed"]
        assert completed == [0, 1, 2]
        assert not [f for f in ada.seen if f["type"] == "turn.superseded"]


async def test_a_run_is_handed_over_when_its_tool_has_returned(dsn: str, redis_url: str, store: Store) -> None:
    """The drain begins while the tool is called: its result is recorded, and another worker goes on with it."""
    stays = settings_for(dsn, redis_url, role="gateway")
    async with running_worker(stays, "test:1:a") as door, await door.person() as ada:
        session = await room_for(ada, "scripted-tools")
        async with asyncio.TaskGroup() as tasks:
            leaves = Worker(settings_for(dsn, redis_url, role="runner"), "test:2:b", tasks)
            claiming = tasks.create_task(leaves.runs.executor.run())
            try:
                async with locked_counter(dsn, "handed"):
                    await ada.say(session, "/script turns=2 tokens=3 tool=counter key=handed")
                    leaves.runs.executor.wake()
                    called = await ada.expect("tool.called")
                    draining = tasks.create_task(leaves.runs.executor.drain(10))
                    await everything_else_waits()
                    assert not draining.done()
                await draining
                assert (await ada.expect("tool.returned"))["data"]["call"] == called["data"]["call"]
            finally:
                claiming.cancel()
                await leaves.close()
        async with running_worker(settings_for(dsn, redis_url, role="runner"), "test:3:c"):
            assert (await ada.expect("run.started", attempt=2))["data"]["node"] == "test:3:c"
            await ada.expect("run.finished", status="completed")
        told = [f["type"] for f in ada.seen if "seq" in f]
        assert told.count("tool.called") == told.count("tool.returned") == 1
        assert not {"turn.superseded", "input.requested"} & set(told)
        assert [f["data"]["text"] for f in ada.seen if f["type"] == "message.completed"] == [
            "t0.0 t0.1 t0.2 ",
            "t1.0 t1.1 t1.2 ",
        ]
        assert await counted(store, "handed") == 1
