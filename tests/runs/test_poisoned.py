"""Rows that no hub of this version has written: the run fails with a code, and the session is still there."""

import asyncio
from typing import Any

import pytest

from hub.store.database import Store
from tests.driver import Door
from tests.relay.wiring import eventually_so
from tests.runs.conversation import finish, log_of, transcript
from tests.runs.test_sending import room_for

STATES = {
    "no JSON": "{",
    "something else": "[1, 2]",
    "nothing": "null",
    "of another version": '{"version": 99, "type": "NoSuchState", "agent_states": {"x": 1}}',
    "of wrong types": '{"messages": 7, "agents": "many", "turn": {"a": []}}',
}


FULL = """
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON events FOR EACH ROW
    WHEN (NEW.session_id = '{session}' AND NEW.type = 'run.started') EXECUTE FUNCTION public.full_disk();
"""
NOT_FULL = "DROP TRIGGER full_disk ON events; DROP FUNCTION public.full_disk()"


async def poison(store: Store, session: str, what: str, value: Any) -> None:
    async with store.transaction() as db:
        await db.connection.execute(what, session, value)


@pytest.mark.parametrize("team", ["scripted", "scripted-autogen"])
async def test_a_state_that_cannot_be_read_fails_the_run_and_nothing_else(hub: Door, store: Store, team: str) -> None:
    async with await hub.person("poisoned ada") as ada:
        for name, state in STATES.items():
            session = await room_for(ada, team)
            first = await ada.say(session, "/script turns=1 tokens=2")
            await finish(ada, first["run"])
            await poison(store, session, "UPDATE checkpoints SET state = $2 WHERE session_id = CAST($1 AS uuid)", state)
            for _ in range(2):  # the fault goes with the state, not with the message
                sent = await ada.say(session, "/script turns=1 tokens=2")
                ended = (await finish(ada, sent["run"]))[-1]["data"]
                assert (ended["status"], ended["error"]["code"]) == ("failed", "engine_error"), (name, ended)
            assert [f["type"] for f in await log_of(hub, ada, session)].count("run.finished") == 3
            assert len(await transcript(hub, ada, session)) == 4, name
            # A conversation with such a state can be taken back to before it.
            edit = await ada.ask(
                "message.edit", session=session, message=first["message"], text="/script turns=1 tokens=2"
            )
            assert (await finish(ada, edit["run"]))[-1]["data"]["status"] == "completed", name


async def test_a_team_that_is_not_there_any_more_fails_the_run(hub: Door, store: Store) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada)
        await poison(store, session, "UPDATE sessions SET team = $2 WHERE id = CAST($1 AS uuid)", "gone")
        sent = await ada.say(session, "hello")
        ended = (await finish(ada, sent["run"]))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "team_unknown")
        await poison(store, session, "UPDATE sessions SET team = $2 WHERE id = CAST($1 AS uuid)", "scripted")
        sent = await ada.say(session, "/script turns=1 tokens=2")
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"


async def test_a_database_that_takes_no_events_is_not_asked_without_a_pause(hub: Door, store: Store) -> None:
    loop = asyncio.get_running_loop()
    async with await hub.person() as ada:
        session = await room_for(ada)
        async with store.transaction() as db:
            await db.connection.execute(FULL.format(session=session))
        began = loop.time()
        try:
            sent = await ada.say(session, "/script turns=1 tokens=2")
            await eventually_so(lambda: tried(store, sent["run"], 4), 30)
        finally:
            async with store.transaction() as db:
                await db.connection.execute(NOT_FULL)
        assert loop.time() - began > 1
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"


async def tried(store: Store, run: str, times: int) -> bool:
    async with store.transaction() as db:
        attempt: int = await db.connection.fetchval("SELECT attempt FROM runs WHERE id = CAST($1 AS uuid)", run)
        return attempt >= times


async def test_arguments_that_cannot_be_read_are_never_called_with(hub: Door, store: Store) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "scripted-tools")
        sent = await ada.say(session, "/script turns=1 tokens=2 tool=transfer key=t")
        request = await ada.expect("input.requested")
        await poison(store, session, "UPDATE tool_calls SET arguments = $2 WHERE session_id = CAST($1 AS uuid)", "{")
        await ada.ask("input.respond", session=session, request=request["data"]["request"], decision="approve")
        ended = (await finish(ada, sent["run"]))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "internal")
        sent = await ada.say(session, "/script turns=1 tokens=2")
        assert (await finish(ada, sent["run"]))[-1]["data"]["status"] == "completed"
        assert "tool.returned" not in [f["type"] for f in await log_of(hub, ada, session)]
