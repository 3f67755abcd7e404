"""Swarms and graphs in a whole hub: what everybody sees of agents that hand over, or speak side by side."""

from collections import Counter

import pytest

from tests.driver import Door, seqs, streamed
from tests.runs.test_sending import room_for


async def test_a_handoff_is_told_and_the_conversation_stays_where_it_is(hub: Door) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "support")
        await ada.say(session, "/script turns=2 tokens=2 tool=transfer_to_billing")
        frames = await ada.until("run.finished")
        (handoff,) = [frame for frame in frames if frame["type"] == "agent.handoff"]
        assert (handoff["data"]["from"], handoff["data"]["to"]) == ("reception", "billing")
        (message,) = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
        assert (message["author"]["name"], message["text"]) == ("billing", "t1.0 t1.1 ")
        await ada.say(session, "thank you")
        frames = await ada.until("run.finished")
        (message,) = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
        assert (message["author"]["name"], message["text"]) == ("billing", "thank you")


@pytest.mark.parametrize("rate", [0, 400])
async def test_agents_that_speak_side_by_side_lose_nothing(hub: Door, rate: int) -> None:
    async with await hub.person() as ada:
        session = await room_for(ada, "research")
        await ada.say(session, f"/script turns=4 tokens=40 rate={rate}")
        frames = await ada.until("run.finished")
        assert frames[-1]["data"]["status"] == "completed"
        assert frames[-1]["data"]["turns"] == 4
        numbers = seqs(frames)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        completed = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
        texts = {message["author"]["name"]: message["text"] for message in completed}
        said = {name: "".join(f"t{turn}.{n} " for n in range(40)) for name, turn in TURNS.items()}
        assert texts == said
        assert len(completed) == len(said)
        for message in completed:
            assert streamed(frames, message["message"]) == message["text"]
        assert Counter(frame["data"]["turn"] for frame in frames if frame["type"] == "turn.started") == {
            0: 1,
            1: 2,
            2: 1,
            3: 1,
        }
        statuses = [frame["data"] for frame in frames if frame["type"] == "agent.status"]
        assert len(statuses) <= 3 * len(said), "a status is told when it changes, and not with every token"


TURNS = {"planner": 0, "facts": 1, "opinions": 1, "editor": 2, "checker": 3}
