"""Tools of an operator's in a whole hub: what is recorded of their calls, and who may have them called."""

from typing import Any

import orjson
import pytest

from hub.engine.tools.outcome import MAX_SHOWN
from hub.store.database import Store
from tests.driver import Door, Person, streamed
from tests.runs.conversation import finish
from tests.runs.test_sending import room_for

Frame = dict[str, Any]


async def called(person: Person, session: str, tool: str, key: str) -> tuple[Frame, Frame]:
    """The events of one call of this tool."""
    sent = await person.say(session, f"/script turns=1 tokens=1 tool={tool} key={key}")
    frames = [frame for frame in await finish(person, sent["run"]) if frame.get("run") == sent["run"]]
    assert frames[-1]["data"]["status"] == "completed", frames[-1]
    (call,) = [frame["data"] for frame in frames if frame["type"] == "tool.called"]
    (returned,) = [frame["data"] for frame in frames if frame["type"] == "tool.returned"]
    assert call["call"] == returned["call"]
    return call, returned


@pytest.mark.parametrize("tool", ["flood", "flood_once"])
async def test_a_large_result_is_kept_beside_the_log(bank: Door, tool: str) -> None:
    async with await bank.person() as ada, await bank.person() as eve:
        session = await room_for(ada, "bank")
        _, returned = await called(ada, session, tool, "50000")
        assert (len(returned["result"]), returned["characters"]) == (MAX_SHOWN, 50_000)
        path = f"/v1/sessions/{session}/calls/{returned['call']}"
        async with bank.rest(ada.token) as rest:
            assert (await rest.get(path)).json() == {"call": returned["call"], "name": tool, "result": "é" * 50_000}
            assert (await rest.get(f"/v1/sessions/{session}/calls/{session}")).status_code == 404
            assert (await rest.get(f"/v1/sessions/{session}/calls/x")).status_code == 404
            other = await room_for(ada, "bank")
            assert (await rest.get(f"/v1/sessions/{other}/calls/{returned['call']}")).status_code == 404
        async with bank.rest(eve.token) as rest:
            assert (await rest.get(path)).status_code == 404
        _, returned = await called(ada, session, tool, str(MAX_SHOWN))
        assert (len(returned["result"]), "characters" in returned) == (MAX_SHOWN, False)


async def test_the_agent_gets_the_beginning_of_a_large_result(bank: Door, bank_store: Store) -> None:
    async with await bank.person() as ada:
        for tool in ("flood", "flood_once"):
            session = await room_for(ada, "bank")
            await called(ada, session, tool, "50000")
            async with bank_store.transaction() as db:
                state = await db.connection.fetchval(
                    "SELECT state FROM checkpoints WHERE session_id = $1 ORDER BY seq DESC LIMIT 1", session
                )
            assert "only the first 32,000 of 50,000 characters" in state
            assert state.count("é") == MAX_SHOWN


async def test_a_tool_knows_on_whose_behalf_it_is_called(bank: Door) -> None:
    async with await bank.person("ada") as ada, await bank.person("bob") as bob:
        session = await room_for(ada, "bank")
        async with bank.rest(ada.token) as rest:
            await rest.put(f"/v1/sessions/{session}/members/bob", json={"role": "editor"})
        call, returned = await called(ada, session, "pay", "little")
        assert returned["result"] == f"ada paid little in call {call['call']}"
        await bob.ask("session.join", session=session)
        call, returned = await called(bob, session, "pay", "little")
        assert returned["result"] == f"bob paid little in call {call['call']}"
        _, returned = await called(bob, session, "adas", "k")
        assert (returned["result"], returned["is_error"]) == ("adas is not for bob", True)
        _, returned = await called(ada, session, "adas", "k")
        assert (returned["result"], returned["is_error"]) == ("for ada", False)


async def test_what_was_said_is_searched_in_this_session_only(bank: Door) -> None:
    async with await bank.person() as ada:
        other, session = await room_for(ada, "bank"), await room_for(ada, "bank")
        for place, word in ((other, "walrus"), (session, "penguin")):
            await finish(ada, (await ada.say(place, f"the {word} sings"))["run"])
        _, returned = await called(ada, session, "search_transcript", "penguin")
        texts = [(m["author"], m["text"]) for m in orjson.loads(returned["result"])["messages"]]
        assert texts[-1] == (ada.hello["user"]["name"], "the penguin sings")
        _, returned = await called(ada, session, "search_transcript", "walrus")
        (own,) = orjson.loads(returned["result"])["messages"]  # the question itself
        assert own["text"].startswith("/script")


async def test_calls_are_metered(bank: Door) -> None:
    async with await bank.person() as ada:
        session = await room_for(ada, "bank")
        _, returned = await called(ada, session, "calculator", "6*7")
        assert returned["result"] == "42"
        async with bank.rest(ada.token) as rest:
            metrics = (await rest.get("/metrics")).text
        assert 'hub_tool_calls_total{node="test:1:a",outcome="ok",tool="calculator"} 1.0' in metrics
        assert "hub_tool_call_seconds_count" in metrics


async def test_a_graph_of_langgraphs_is_a_team_like_any_other(bank: Door) -> None:
    async with await bank.person() as ada:
        session = await room_for(ada, "drafts")
        for rounds, heard in ((1, "1 "), (2, "5 ")):
            sent = await ada.say(session, "go")
            frames = await finish(ada, sent["run"])
            assert frames[-1]["data"]["status"] == "completed", frames[-1]
            said = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
            assert [message["author"]["display_name"] for message in said] == ["Writer", "The critic", "The critic"]
            assert said[0]["text"].startswith(f"draft {heard}")
            assert said[-1]["text"] == f"round {rounds}"
            assert streamed(frames, said[0]["message"]) == said[0]["text"]
            assert said[0]["usage"]["completion_tokens"] == 3
