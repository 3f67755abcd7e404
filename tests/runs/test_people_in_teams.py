"""People who have a place in a team: their turn is asked for, waits in a row, and is what they answer."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door, Person, Refused, seqs
from tests.runs.conversation import finish, log_of
from tests.runs.test_bots import completed, invite, write_teams
from tests.runs.test_inputs import answer, status_of
from tests.runs.test_sending import room_for

Frame = dict[str, Any]

TEAMS = {
    "council": """
        kind: round_robin
        agents:
          - {name: boss, kind: human, instructions: Decide., display_name: The boss}
          - {name: writer}""",
    "throne": """
        kind: selector
        agents: [{name: boss, kind: human, user: queen}, {name: writer}]""",
    "hasty": """
        kind: round_robin
        agents:
          - {name: boss, kind: human, timeout_s: 0.2, substitute: writer}
          - {name: writer}""",
}


@pytest.fixture(scope="module")
async def door(cluster: Cluster, valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    folder = write_teams(tmp_path_factory.mktemp("teams"), TEAMS)
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server, teams_dir=folder), "t:1:p") as door:
        yield door
    await cluster.drop(dsn)


async def asked(person: Person, session: str, text: str = "shall we?") -> tuple[str, Frame]:
    sent = await person.say(session, text)
    return sent["run"], await person.expect("input.requested")


async def refused(person: Person, request: Frame, **fields: str) -> str:
    with pytest.raises(Refused) as error:
        await answer(person, request, **fields)
    return error.value.code


async def test_a_person_speaks_as_an_agent(door: Door) -> None:
    async with await door.person() as ada, await door.person() as bob, await door.person() as eve:
        session = await room_for(ada, "council")
        await invite(door, ada, session, bob, "editor")
        await invite(door, ada, session, eve, "approver")
        run, request = await asked(ada, session)
        data = request["data"]
        assert (data["kind"], data["agent"], data["prompt"], data["tool"]) == (
            "question",
            "boss",
            "Decide.",
            "take_turn",
        )
        assert await status_of(door, ada, session) == "waiting"
        assert await refused(eve, request, text="I do") == "forbidden", "who may answer may not always speak"
        assert await refused(bob, request, decision="approve") == "bad_request"
        await answer(bob, request, text="We shall.")
        frames = await finish(ada, run)
        assert completed(frames) == [("boss", "We shall."), ("writer", "shall we?")]
        (message,) = [f["data"] for f in frames if f["type"] == "message.completed" and f["data"]["turn"] == 0]
        assert message["author"] == {"kind": "agent", "name": "boss", "display_name": "The boss"}
        assert (message["status"], message["turn"]) == ("complete", 0)
        log = await log_of(door, ada, session)
        assert seqs(log) == list(range(1, len(log) + 1))
        assert [e["data"]["turn"] for e in log if e["type"] == "turn.started"] == [0, 1]
        assert not [e for e in log if e["type"] in ("tool.called", "tool.returned", "turn.superseded")]
        # The next run: the person is asked again, and everybody knows what was said.
        run, request = await asked(ada, session, "/script history turns=2")
        await answer(ada, request, text="once more")
        told = completed(await finish(ada, run))
        assert told[0] == ("boss", "once more")


async def test_what_a_person_said_is_known_to_the_others(door: Door) -> None:
    async with await door.person("ada") as ada:
        session = await room_for(ada, "council")
        run, request = await asked(ada, session)
        await answer(ada, request, text="We shall.")
        await finish(ada, run)
        sent = await ada.say(session, "/script history turns=1", to="writer")
        frames = await finish(ada, sent["run"])
        ((_, heard),) = completed(frames)
        assert heard.split("\n")[1:] == [
            "ada:shall we?",
            "boss:We shall.",
            "writer:shall we?",
            "ada:/script history turn",
        ]


async def test_a_place_that_names_a_person_is_theirs(door: Door) -> None:
    async with await door.person() as ada, await door.person("queen") as queen:
        session = await room_for(ada, "throne")
        await invite(door, ada, session, queen, "approver")
        run, request = await asked(ada, session)
        assert request["data"]["arguments"]["user"] == "queen"
        assert await refused(ada, request, text="me") == "forbidden"
        await answer(queen, request, text="Us.")
        assert completed(await finish(ada, run)) == [("boss", "Us."), ("writer", "shall we?")]


async def test_nobody_answers_and_somebody_speaks_in_their_place(door: Door) -> None:
    async with await door.person() as ada:
        session = await room_for(ada, "hasty")
        run, _ = await asked(ada, session)
        frames = await finish(ada, run)
        assert completed(frames) == [("writer", "shall we?"), ("writer", "shall we?")]
        (resolved,) = [f["data"] for f in frames if f["type"] == "input.resolved"]
        assert resolved["by"]["id"] == "hub"
        assert frames[-1]["data"]["status"] == "completed"


async def test_a_turn_that_a_person_declines_ends_the_run_with_a_code(door: Door) -> None:
    async with await door.person() as ada:
        session = await room_for(ada, "council")
        run, request = await asked(ada, session)
        await answer(ada, request, decision="reject", text="not now")
        ended = (await finish(ada, run))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "person_unavailable")
        run, request = await asked(ada, session, "and now?")  # it can be asked again
        await answer(ada, request, text="Yes.")
        assert completed(await finish(ada, run))[0] == ("boss", "Yes.")
