"""What is used of models is recorded call by call, and told to those who may know."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.api.people import problem
from tests.conftest import Cluster, own_valkey, running_worker, settings_for
from tests.driver import Door, Person
from tests.engine.fake_openai import fake_openai
from tests.runs.conversation import Frame, finish

MODELS = """models:
  fast: {{provider: openai, name: good, base_url: {url}, price: {{input: 2, output: 10}}}}
  flaky: {{provider: openai, name: broken, base_url: {url}, retries: 0, fallbacks: [fast]}}
  firm: {{provider: azure, name: good, base_url: {url}, price: {{input: 2, output: 10}}}}
  calling: {{provider: openai, name: tools, base_url: {url}, price: {{input: 2, output: 10}}}}
"""
TEAMS = """name: {name}
description: d
kind: round_robin
model: {model}
agents: [{{name: alpha, tools: [clock, counter]}}]
limits: {{max_turns: {turns}}}
"""


FORGETFUL = """name: forgetful
description: d
kind: round_robin
model: firm
agents: [{name: alpha, memory: {keep: summary, last: 1}}]
limits: {max_turns: 1}
"""


class Priced:
    """A hub whose models cost something, and its database."""

    def __init__(self, door: Door, dsn: str) -> None:
        self.door = door
        self.dsn = dsn

    async def rows(self, run: str) -> list[tuple[Any, ...]]:
        """What was put down for a run."""
        return await self.select(
            "SELECT model, agent, prompt_tokens, completion_tokens, cost_micros, finish, error, turns, tool_calls "
            "FROM usage WHERE run_id = $1 ORDER BY id",
            run,
        )

    async def select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database holds."""
        database = await asyncpg.connect(self.dsn)
        rows = await database.fetch(statement, *values)
        await database.close()
        return [tuple(row) for row in rows]


@pytest.fixture(scope="module")
async def hub(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Priced]:
    folder = tmp_path_factory.mktemp("priced")
    dsn = await cluster.clone()
    async with fake_openai() as fake:
        (folder / "models.yaml").write_text(MODELS.format(url=fake.url))
        teams = folder / "teams"
        teams.mkdir()
        for name, model, turns in (("paid", "fast", 2), ("flaky", "flaky", 1), ("calling", "calling", 1)):
            (teams / f"{name}.yaml").write_text(TEAMS.format(name=name, model=model, turns=turns))
        (teams / "forgetful.yaml").write_text(FORGETFUL)
        with own_valkey() as redis_url:
            settings = settings_for(dsn, redis_url).model_copy(
                update={"models_file": folder / "models.yaml", "teams_dir": teams, "default_model": "fast"}
            )
            async with running_worker(settings) as door:
                yield Priced(door, dsn)
    await cluster.drop(dsn)


async def told(person: Person, team: str) -> tuple[str, str, list[Frame]]:
    """A session with this team, and one run in it: their ids, and what was seen."""
    session = (await person.ask("session.create", team=team))["id"]
    await person.ask("session.join", session=session)
    run = (await person.say(session, "Hi"))["run"]
    return session, run, await finish(person, run)


async def test_every_call_is_put_down_with_its_price(hub: Priced) -> None:
    async with await hub.door.person() as ada:
        session, run, frames = await told(ada, "paid")
        assert frames[-1]["data"]["usage"] == {"prompt_tokens": 22, "completion_tokens": 14, "cost": 0.000184}
        call = ("fast", "alpha", 11, 7, 92, "stop", None, 1, 0)
        assert await hub.rows(run) == [call, call]
        async with hub.door.rest(ada.token) as rest:
            spent = (await rest.get(f"/v1/sessions/{session}/usage")).json()
            assert spent["session"] == session
            assert spent["usage"].pop("seconds") > 0
            assert spent["usage"] == {
                "prompt_tokens": 22, "completion_tokens": 14, "cost": 0.000184, "turns": 2, "tool_calls": 0,
            }  # fmt: skip
            assert [(model["model"], model["calls"]) for model in spent["models"]] == [("fast", 2)]
            assert (await rest.get(f"/v1/runs/{run}")).json()["usage"]["cost"] == 0.000184


async def test_who_stands_in_is_put_down_beside_who_failed(hub: Priced) -> None:
    async with await hub.door.person() as ada:
        _, run, _ = await told(ada, "flaky")
        assert await hub.rows(run) == [
            ("flaky", "alpha", 0, 0, 0, None, "model_unavailable: HTTP 500", 1, 0),
            ("fast", "alpha", 11, 7, 92, "stop", None, 0, 0),
        ]


async def test_tool_calls_are_counted_whoever_makes_them(hub: Priced) -> None:
    """The clock is called within the turn, the counter by the run: the turn is put down in two parts."""
    async with await hub.door.person() as ada:
        _, run, frames = await told(ada, "calling")
        assert sum(frame["type"] == "tool.called" for frame in frames) == 2
        rows = await hub.rows(run)
        assert [(row[5], *row[7:]) for row in rows] == [("function_calls", 0, 2), ("stop", 1, 0)]


async def test_a_scripted_turn_is_put_down_too(hub: Priced) -> None:
    async with await hub.door.person() as ada:
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session)
        run = (await ada.say(session, "/script turns=2 tokens=3"))["run"]
        frames = await finish(ada, run)
        assert set(frames[-1]["data"]["usage"]) == {"prompt_tokens", "completion_tokens"}
        assert [(row[0], row[3], row[7]) for row in await hub.rows(run)] == [("scripted", 3, 1), ("scripted", 3, 1)]


async def test_people_see_their_own_also_of_sessions_that_are_gone(hub: Priced) -> None:
    async with await hub.door.person() as ada, await hub.door.person() as eve:
        session, _, _ = await told(ada, "paid")
        async with hub.door.rest(ada.token) as rest, hub.door.rest(eve.token) as stranger:
            problem(await stranger.get(f"/v1/sessions/{session}/usage"), 404, "not_found")
            problem(await stranger.get(f"/v1/admin/users/{ada.hello['user']['id']}/usage"), 403, "forbidden")
            assert (await stranger.get("/v1/me/usage")).json()["models"] == []
            assert (await rest.delete(f"/v1/sessions/{session}")).status_code == 204
            mine = (await rest.get("/v1/me/usage")).json()
            assert (mine["usage"]["cost"], mine["usage"]["turns"]) == (0.000184, 2)
            assert mine["since"] < mine["until"]
            early = {"since": "2020-01-01T00:00:00Z", "until": "2020-02-01T00:00:00+01:00"}
            assert (await rest.get("/v1/me/usage", params=early)).json()["usage"]["turns"] == 0
            for wrong in ({"since": "yesterday"}, {"since": "2020-01-01T00:00:00"}, {"until": "0001-01-01T00:00:00Z"},
                          {"since": "2020-01-01T00:00:00Z", "until": "2019-01-01T00:00:00Z"}):  # fmt: skip
                problem(await rest.get("/v1/me/usage", params=wrong), 400, "bad_request")


async def test_a_memory_is_kept_small_and_what_that_takes_is_put_down(hub: Priced) -> None:
    """On a model of Azure's: summaries are calls of the team's, and the checkpoint does not grow with the session."""
    async with await hub.door.person() as ada:
        session, run, _ = await told(ada, "forgetful")
        sizes = list[int]()
        for number in range(6):
            run = (await ada.say(session, f"Question {number}"))["run"]
            await finish(ada, run)
            (newest,) = await hub.select(
                "SELECT length(state) FROM checkpoints WHERE session_id = $1 ORDER BY seq DESC LIMIT 1", session
            )
            sizes.append(newest[0])
        rows = await hub.rows(run)
        assert [(row[0], row[1], row[4]) for row in rows] == [("firm", None, 92), ("firm", "alpha", 92)]
        assert sizes[-1] <= sizes[1] + 100, sizes
