"""Budgets of runs, sessions, people and organisations: where they end a run, and who raises them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from tests.api.people import problem
from tests.conftest import Cluster, own_valkey, running_worker, settings_for
from tests.driver import Door, Person, Refused
from tests.runs.conversation import Frame, finish, transcript

TEAM = """name: {name}
description: d
kind: round_robin
model: scripted
agents: [{{name: alpha, tools: [clock, counter]}}, {{name: beta}}]
limits: {limits}
budgets: {budgets}
"""
TEAMS = {
    "words": "{run: {tokens: 60}}",
    "turns": "{run: {turns: 2}}",
    "calls": "{run: {tool_calls: 0}}",
    "quick": "{run: {seconds: 0.3}}",
    "together": "{session: {turns: 3}}",
    "free": "{}",
}
PERSON = """name: person
description: d
kind: round_robin
model: scripted
agents: [{name: alpha}, {name: boss, kind: human}]
limits: {max_turns: 2}
budgets: {run: {tool_calls: 0}}
"""
LIMITS = {"brief": "{max_messages: 3}"}


class Budgeted:
    """A hub with these teams, and what else it needs to have another worker."""

    def __init__(self, door: Door, dsn: str, settings: Any, cluster: Cluster) -> None:
        self.cluster = cluster
        self.door = door
        self.dsn = dsn
        self.settings = settings

    @asynccontextmanager
    async def alone(self, settings: Any) -> AsyncIterator[Door]:
        """A hub of other settings, with a database and a Valkey of its own."""
        dsn = await self.cluster.clone()
        with own_valkey() as redis_url:
            urls = {"database_url": SecretStr(dsn), "redis_url": SecretStr(redis_url)}
            async with running_worker(settings.model_copy(update=urls)) as door:
                yield door
        await self.cluster.drop(dsn)

    async def administrator(self) -> str:
        """A token of an administrator."""
        async with await self.door.person() as boss:
            database = await asyncpg.connect(self.dsn)
            await database.execute("UPDATE users SET is_admin = true WHERE id = $1", boss.hello["user"]["id"])
            await database.close()
            return boss.token

    async def set(self, token: str, path: str, **body: object) -> list[Frame]:
        """Set a limit; gives those that hold then."""
        async with self.door.rest(token) as rest:
            answer = await rest.put(path, json=body)
            assert answer.status_code == 200, answer.text
            items: list[Frame] = answer.json()["items"]
            return items


@pytest.fixture(scope="module")
async def hub(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Budgeted]:
    teams: Path = tmp_path_factory.mktemp("teams")
    for name in [*TEAMS, *LIMITS]:
        limits, budgets = LIMITS.get(name, "{max_turns: 20}"), TEAMS.get(name, "{}")
        (teams / f"{name}.yaml").write_text(TEAM.format(name=name, limits=limits, budgets=budgets))
    (teams / "person.yaml").write_text(PERSON)
    dsn = await cluster.clone()
    with own_valkey() as redis_url:
        settings = settings_for(dsn, redis_url, teams_dir=teams, budgets="session.turns=30", lease_s=9)
        async with running_worker(settings) as door:
            yield Budgeted(door, dsn, settings, cluster)
    await cluster.drop(dsn)


async def opened(person: Person, team: str) -> str:
    session: str = (await person.ask("session.create", team=team))["id"]
    await person.ask("session.join", session=session)
    return session


async def ran(person: Person, session: str, text: str) -> tuple[Frame, Frame | None, list[Frame]]:
    """A run: how it ended, the budget it reached, and everything."""
    frames = await finish(person, (await person.say(session, text))["run"])
    reached = [frame["data"] for frame in frames if frame["type"] == "budget.reached"]
    assert len(reached) <= 1
    if reached:
        assert [frame["type"] for frame in frames if "seq" in frame][-2:] == ["budget.reached", "run.finished"]
    return frames[-1]["data"], reached[0] if reached else None, frames


def is_over(end: Frame) -> bool:
    error = {"code": "budget_exceeded", "message": "a budget is used up"}
    return (end["status"], end["reason"], end.get("error")) == ("failed", "budget_exceeded", error)


async def test_tokens_end_a_run_in_mid_stream(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "words")
        end, reached, frames = await ran(ada, session, "/script turns=1 tokens=500")
        assert is_over(end)
        assert reached == {"scope": "run", "quantity": "tokens", "limit": 60, "used": 60}
        (said,) = [frame["data"] for frame in frames if frame["type"] == "message.completed"]
        assert said["status"] == "interrupted"
        assert 30 < len(said["text"].split()) < 60
        assert end["usage"]["completion_tokens"] + end["usage"]["prompt_tokens"] == 60
        assert [m["status"] for m in await transcript(hub.door, ada, session)][1] == "interrupted"


async def test_turns_end_a_run_between_two_turns(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "turns")
        end, reached, frames = await ran(ada, session, "/script turns=5 tokens=2")
        assert is_over(end)
        assert reached == {"scope": "run", "quantity": "turns", "limit": 2, "used": 2}
        assert [frame["data"]["turn"] for frame in frames if frame["type"] == "turn.started"] == [0, 1]
        assert end["turns"] == 2
        end, reached, _ = await ran(ada, session, "/script turns=1 tokens=2")  # each run has its own
        assert (end["status"], reached) == ("completed", None)


@pytest.mark.parametrize("tool", ["clock", "counter key=b"])
async def test_tools_are_not_called_beyond_their_budget(hub: Budgeted, tool: str) -> None:
    async with await hub.door.person() as ada:
        end, reached, frames = await ran(ada, await opened(ada, "calls"), f"/script turns=1 tokens=2 tool={tool}")
        assert is_over(end)
        assert reached == {"scope": "run", "quantity": "tool_calls", "limit": 0, "used": 1}
        assert not [frame for frame in frames if frame["type"] == "tool.called"]


async def test_a_turn_of_a_person_is_no_tool_call(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "person")
        run = (await ada.say(session, "/script turns=2 tokens=2"))["run"]
        asked = await ada.expect("input.requested")
        await ada.ask("input.respond", session=session, request=asked["data"]["request"], text="Well.")
        frames = await finish(ada, run)
        assert frames[-1]["data"]["status"] == "completed"
        async with hub.door.rest(ada.token) as rest:
            assert (await rest.get(f"/v1/sessions/{session}/usage")).json()["usage"]["tool_calls"] == 0


async def test_time_ends_a_turn(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        end, reached, _ = await ran(ada, await opened(ada, "quick"), "/script turns=1 tokens=500 rate=50")
        assert is_over(end)
        assert reached is not None
        assert (reached["quantity"], reached["limit"]) == ("seconds", 0.3)
        assert 0.3 <= reached["used"] < 9, "to the end it would take 10 s"


async def test_a_session_has_one_budget_for_all_its_runs(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "together")
        assert (await ran(ada, session, "/script turns=2 tokens=1"))[1] is None
        end, reached, _ = await ran(ada, session, "/script turns=2 tokens=1")
        assert is_over(end)
        assert reached == {"scope": "session", "quantity": "turns", "limit": 3, "used": 3}
        with pytest.raises(Refused) as refused:  # nothing is recorded that nobody could answer
            await ada.say(session, "/script turns=2 tokens=1")
        assert (refused.value.code, refused.value.error["retryable"]) == ("budget_exceeded", False)
        assert refused.value.error["details"] == reached
        async with hub.door.rest(ada.token) as rest:
            problem(await rest.post(f"/v1/sessions/{session}/messages", json={"text": "x"}), 402, "budget_exceeded")
        # Its owner raises it, and takes that back.
        here = f"/v1/sessions/{session}/budgets"
        listed = await hub.set(ada.token, here, scope="session", quantity="turns", limit=4)
        assert listed == [
            {"scope": "session", "quantity": "turns", "limit": 4, "used": 3, "set": True},
            {"scope": "session", "quantity": "turns", "limit": 30, "used": 3, "set": False},
        ]
        end, reached, _ = await ran(ada, session, "/script turns=2 tokens=1")
        assert reached == {"scope": "session", "quantity": "turns", "limit": 4, "used": 4}
        listed = await hub.set(ada.token, here, scope="session", quantity="turns", limit=None)
        assert [item["limit"] for item in listed] == [3, 30]
        await hub.set(ada.token, here, scope="session", quantity="turns", limit=1_000)
        end, reached, _ = await ran(ada, session, "/script turns=20 tokens=1")
        assert (end["status"], reached) == ("completed", None)
        end, reached, _ = await ran(ada, session, "/script turns=20 tokens=1")
        assert reached == {"scope": "session", "quantity": "turns", "limit": 30, "used": 30}, "the hub's own stays"


async def test_what_waits_while_a_budget_is_used_up_ends_at_once(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "together")
        first = (await ada.say(session, "/script turns=9 tokens=20 rate=15"))["run"]
        sent = {"text": "/script turns=1 tokens=1", "client_id": "again"}
        waiting = await ada.ask("message.send", session=session, **sent)
        assert is_over((await finish(ada, first))[-1]["data"])
        frames = await finish(ada, waiting["run"])
        assert [frame["type"] for frame in frames if "seq" in frame][-3:] == [
            "run.started", "budget.reached", "run.finished",
        ]  # fmt: skip
        assert await ada.ask("message.send", session=session, **sent) == waiting, "a repeated send has its answer"


async def test_a_budget_is_raised_while_the_words_come(hub: Budgeted) -> None:
    async with await hub.door.person() as ada:
        session = await opened(ada, "words")
        run = (await ada.say(session, "/script turns=1 tokens=75 rate=18"))["run"]
        await ada.expect("message.delta", index=0)
        here = f"/v1/sessions/{session}/budgets"
        await hub.set(ada.token, here, scope="run", quantity="tokens", limit=5_000)
        frames = await finish(ada, run)
        assert frames[-1]["data"]["status"] == "completed"
        assert not [frame for frame in frames if frame["type"] == "budget.reached"]


async def test_a_first_limit_holds_from_the_next_turn_on(hub: Budgeted) -> None:
    """An operator stops what runs away. (The limits of this hub are of sessions.)"""
    settings = hub.settings.model_copy(update={"budgets": ""})
    async with hub.alone(settings) as door, await door.person() as ada:
        session = await opened(ada, "free")
        run = (await ada.say(session, "/script turns=20 tokens=10 rate=20"))["run"]
        await ada.expect("turn.started", turn=1)
        async with door.rest(ada.token) as rest:
            limit = {"scope": "session", "quantity": "turns", "limit": 1}
            assert (await rest.put(f"/v1/sessions/{session}/budgets", json=limit)).status_code == 200
            last_seq = (await rest.get(f"/v1/sessions/{session}")).json()["last_seq"]
        frames = await finish(ada, run)
        assert is_over(frames[-1]["data"])
        later = [frame for frame in frames if frame["type"] == "turn.started" and frame["seq"] > last_seq]
        assert len(later) <= 1, "one may have looked just before"


async def test_what_was_used_is_remembered_by_whoever_goes_on(hub: Budgeted) -> None:
    """A worker that has had part of a run gives it to another one, which has only the records."""
    async with await hub.door.person() as ada:
        session = await opened(ada, "free")
        here = f"/v1/sessions/{session}/budgets"
        await hub.set(ada.token, here, scope="run", quantity="turns", limit=5)
        await ran(ada, session, "/script turns=1 tokens=1")
    settings = hub.settings.model_copy(update={"role": "gateway"})
    async with running_worker(settings, "test:2:b") as gateway, await gateway.enter(ada.token) as again:
        await again.ask("session.join", session=session)
        run = (await again.say(session, "/script turns=15 tokens=30 rate=30"))["run"]
        await again.expect("turn.started", turn=1)
        database = await asyncpg.connect(hub.dsn)
        await database.execute(  # as if its holder had stood still for too long
            "UPDATE runs SET lease_until = clock_timestamp(), lease_epoch = nextval('lease_epochs') WHERE id = $1", run
        )
        await database.close()
        frames = await finish(again, run)
        assert is_over(frames[-1]["data"])
        assert [f["data"]["used"] for f in frames if f["type"] == "budget.reached"] == [5]
        # One that had come to its end when its holder learned of the loss is paid, and had again.
        database = await asyncpg.connect(hub.dsn)
        counted = "SELECT sum(turns), count(DISTINCT turn) FILTER (WHERE turns > 0) FROM usage WHERE run_id = $1"
        paid, had = await database.fetchrow(counted, run)
        await database.close()
        assert (paid, had) == (5, frames[-1]["data"]["turns"])
        assert max(f["data"]["attempt"] for f in frames if f["type"] == "run.started") >= 2


async def test_a_persons_day_and_an_organisations(hub: Budgeted) -> None:
    boss = await hub.administrator()
    async with await hub.door.person() as ada, await hub.door.person() as eve:
        id_ = ada.hello["user"]["id"]
        theirs = f"/v1/admin/users/{id_}/budgets"
        first, second = await opened(ada, "free"), await opened(ada, "free")
        await ran(ada, first, "/script turns=1 tokens=10")
        listed = await hub.set(boss, theirs, quantity="tokens", limit=40)
        (item,) = listed
        assert (item["scope"], item["limit"], item["set"]) == ("user", 40, True)
        assert item["used"] >= 10
        end, reached, _ = await ran(ada, second, "/script turns=1 tokens=500")
        assert is_over(end)
        assert reached == {"scope": "user", "quantity": "tokens", "limit": 40, "used": 40}
        assert (await ran(eve, await opened(eve, "free"), "/script turns=1 tokens=50"))[1] is None
        async with hub.door.rest(boss) as rest:
            assert (await rest.get(theirs)).json()["items"][0]["used"] == 40
            problem(await rest.get("/v1/admin/users/nobody-here/budgets"), 404, "not_found")
            org = (await rest.get("/v1/organisations")).json()["items"][0]["id"]
        whole = f"/v1/admin/organisations/{org}/budgets"
        await hub.set(boss, theirs, quantity="tokens", limit=None)
        listed = await hub.set(boss, whole, quantity="tokens", limit=1)
        try:
            with pytest.raises(Refused) as refused:
                await ran(eve, await opened(eve, "free"), "/script turns=1 tokens=50")
            reached = refused.value.error["details"]
            assert (reached["scope"], reached["limit"]) == ("organisation", 1)
            assert reached["used"] >= listed[0]["used"] > 40
        finally:
            assert await hub.set(boss, whole, quantity="tokens", limit=None) == []


async def test_who_may_set_and_what(hub: Budgeted) -> None:
    async with await hub.door.person() as ada, await hub.door.person() as bob:
        session = await opened(ada, "words")
        here = f"/v1/sessions/{session}/budgets"
        async with hub.door.rest(ada.token) as rest, hub.door.rest(bob.token) as other:
            await rest.put(f"/v1/sessions/{session}/members/{bob.hello['user']['id']}", json={"role": "editor"})
            assert (await other.get(here)).json()["items"][0] == {
                "scope": "run", "quantity": "tokens", "limit": 60, "used": None, "set": False,
            }  # fmt: skip
            limit = {"scope": "run", "quantity": "tokens", "limit": 5}
            problem(await other.put(here, json=limit), 403, "forbidden")
            for wrong in ({"scope": "user"}, {"quantity": "words"}, {"limit": -1}, {"limit": "x"}, {"limit": 1e300}):
                problem(await rest.put(here, json={**limit, **wrong}), 400, "bad_request")


async def test_many_at_once_are_all_stopped(hub: Budgeted) -> None:
    """Sessions of one person share a day; what runs at the same time may go beyond it by what it was saying."""
    boss = await hub.administrator()
    async with await hub.door.person() as ada:
        await hub.set(boss, f"/v1/admin/users/{ada.hello['user']['id']}/budgets", quantity="turns", limit=6)
        sessions = [await opened(ada, "free") for _ in range(4)]
        runs = [(await ada.say(session, "/script turns=10 tokens=1"))["run"] for session in sessions]
        ends = dict[str, Frame]()
        async with asyncio.timeout(30):
            while len(ends) < len(runs):
                frame = await ada.next_frame("the ends of all runs")
                if frame["type"] == "run.finished":
                    ends[frame["run"]] = frame["data"]
        assert all(is_over(end) for end in ends.values())
        assert 6 <= sum(end["turns"] for end in ends.values()) < 6 + len(runs)


async def test_a_run_ends_when_enough_was_said(hub: Budgeted) -> None:
    """Counted over all turns, and by whoever goes on."""
    async with await hub.door.person() as ada:
        session = await opened(ada, "brief")
        end, reached, frames = await ran(ada, session, "/script turns=9 tokens=1")
        assert (end["status"], end["reason"], end["turns"], reached) == ("completed", "max_messages", 3, None)
        assert sum(frame["type"] == "message.completed" for frame in frames) == 3
        run = (await ada.say(session, "/script turns=9 tokens=30 rate=100"))["run"]
        await ada.expect("turn.started", turn=1)
        database = await asyncpg.connect(hub.dsn)
        await database.execute(
            "UPDATE runs SET lease_until = clock_timestamp(), lease_epoch = nextval('lease_epochs') WHERE id = $1", run
        )
        await database.close()
        frames = await finish(ada, run)
        assert (frames[-1]["data"]["reason"], frames[-1]["data"]["turns"]) == ("max_messages", 3)
