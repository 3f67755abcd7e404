"""Teams that are imported while hubs run: versions, whom they are for, and what is refused."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import text

from hub.domain.errors import Conflict
from hub.engine.teams.rules import Names
from hub.sessions.teams import MAX_TEAMS, Teams
from hub.store.database import Store
from tests.api.people import fresh, open_session, problem
from tests.driver import Door, Refused

SEEN_S = 20.0


def team(name: str, agent: str = "solo", **more: Any) -> bytes:
    """A team's file, with a comment that is kept."""
    form = {"name": name, "description": "d", "kind": "round_robin", "agents": [{"name": agent}], **more}
    return f"# {agent}\n{json.dumps(form)}\n".encode()


async def administrator(door: Door, dsn: str) -> httpx2.AsyncClient:
    token = await door.register(name := fresh("admin"))
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE users SET is_admin = true WHERE name = $1", name)
    await connection.close()
    return door.rest(token)


async def offered(rest: httpx2.AsyncClient) -> dict[str, Any]:
    return {one["name"]: one for one in (await rest.get("/v1/teams")).json()["items"]}


async def until_offered(rest: httpx2.AsyncClient, name: str, version: int | None) -> None:
    async with asyncio.timeout(SEEN_S):
        while (await offered(rest)).get(name, {}).get("version") != version:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.05)


async def test_a_run_keeps_its_version_whoever_goes_on_with_it(two_workers: tuple[Door, Door], dsn: str) -> None:
    one, two = two_workers
    name, token = fresh("crew"), await two.register("ada")
    async with await administrator(one, dsn) as admin, two.rest(token) as rest, await two.enter(token) as ada:
        made = await admin.post("/v1/teams", content=team(name, "first"))
        assert made.status_code == 201, made.text
        assert made.json() | {"created_at": ""} == {
            "name": name, "version": 1, "organisation": None, "created_by": made.json()["created_by"],
            "created_at": "", "archived_at": None,
        }  # fmt: skip
        assert (await offered(admin))[name]["version"] == 1, "where it was imported it is there at once"
        await until_offered(rest, name, 1)
        session = await open_session(rest, team=name)
        await ada.ask("session.join", session=session)

        await ada.say(session, "/script turns=3 tokens=20 rate=16")  # time to pause it
        started = await ada.expect("run.started")
        assert started["data"]["team_version"] == 1
        await ada.ask("run.pause", session=session)
        while (await rest.get(f"/v1/sessions/{session}")).json()["status"] != "paused":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        put = await admin.put(f"/v1/teams/{name}", content=team(name, "second"))
        assert put.json()["version"] == 2
        again = await admin.put(f"/v1/teams/{name}", content=team(name, "second"))
        assert (again.status_code, again.json()["version"]) == (200, 2), "the same file is no new version"
        await until_offered(rest, name, 2)
        await ada.ask("run.resume", session=session)
        went_on = await ada.expect("run.started")
        assert (went_on["data"]["attempt"], went_on["data"]["team_version"]) == (2, 1)
        await ada.expect("run.finished")
        await ada.say(session, "/script turns=1 tokens=1")
        assert (await ada.expect("run.started"))["data"]["team_version"] == 2
        await ada.expect("run.finished")
        said = (await rest.get(f"/v1/sessions/{session}/transcript")).json()["messages"]
        assert [m["author"]["name"] for m in said] == ["ada", "first", "first", "first", "ada", "second"]

        shown = (await admin.get(f"/v1/teams/{name}", params={"version": 1})).json()
        assert shown["source"].encode() == team(name, "first")
        assert (await admin.get(f"/v1/teams/{name}")).json()["version"] == 2
        page = (await admin.get(f"/v1/teams/{name}/versions", params={"limit": 1})).json()
        following = await admin.get(f"/v1/teams/{name}/versions", params={"cursor": page["next"]})
        assert [v["version"] for v in (*page["items"], *following.json()["items"])] == [2, 1]

        assert (await admin.delete(f"/v1/teams/{name}")).status_code == 204
        problem(await admin.delete(f"/v1/teams/{name}"), 404, "not_found")
        await until_offered(rest, name, None)
        refused = problem(await rest.post("/v1/sessions", json={"team": name}), 400, "bad_request")
        assert name not in refused["details"]["teams"]
        await ada.say(session, "/script turns=1 tokens=1")
        assert (await ada.expect("run.finished"))["data"]["status"] == "completed", "what is open goes on"
        brought_back = await admin.post("/v1/teams", content=team(name, "second"))
        assert brought_back.json()["version"] == 3


async def test_workers_see_a_team_that_nobody_told_them_of(two_workers: tuple[Door, Door], store: Store) -> None:
    """As `hub team import` does it, and as it is without Redis."""
    hub, _ = two_workers
    name = fresh("quiet")
    untold = Teams(store, names=lambda: Names(models=[], tools=[]), files=lambda: ())
    async with hub.rest(await hub.register("ada")) as rest:
        await untold.put(None, team(name))
        await until_offered(rest, name, 1)
        await untold.archive(None, name)
        await until_offered(rest, name, None)


async def test_who_speaks_is_told(two_workers: tuple[Door, Door], dsn: str) -> None:
    name = fresh("mixed")
    agents = [{"name": "solo"}, {"name": "probe", "kind": "bot"}, {"name": "boss", "kind": "human"}]
    async with await administrator(two_workers[0], dsn) as admin:
        assert (await admin.post("/v1/teams", content=team(name, agents=agents))).status_code == 201
        shown = (await offered(admin))[name]["agents"]
    assert [(agent["name"], agent["kind"]) for agent in shown] == [
        ("solo", "model"), ("probe", "bot"), ("boss", "human")
    ]  # fmt: skip


async def test_what_is_no_team_is_refused_with_its_place(two_workers: tuple[Door, Door], dsn: str) -> None:
    hub, _ = two_workers
    name = fresh("bad")
    async with await administrator(hub, dsn) as admin, hub.rest(await hub.register("bob")) as bob:
        text = f"name: {name}\ndescription: d\nkind: round_robin\nagents:\n  - name: solo\n    tools: [hammer]\n"
        told = problem(await admin.post("/v1/teams", content=text), 400, "bad_request")["details"]["problems"]
        (one,) = told
        assert (one["line"], one["column"], one["where"]) == (6, 13, "agents[0].tools[0]")
        assert one["what"].startswith("there is no tool 'hammer'")
        for body in (b"", b"\xff", b"a: [", b"- 1", text.replace("hammer", "!!python/name:os.system").encode()):
            assert problem(await admin.post("/v1/teams", content=body), 400, "bad_request")["details"]["problems"]
        problem(await admin.post("/v1/teams", content=b"#" * 300_000), 413, "too_large")
        problem(await admin.put(f"/v1/teams/{name}", content=team("other")), 400, "bad_request")

        for taken in ("duo", "scripted"):  # that come with the hub
            answer = await admin.post("/v1/teams", content=team(taken))
            assert answer.status_code in (400, 409), answer.text
        problem(await admin.post("/v1/teams", content=team("duo")), 409, "conflict")
        assert (await admin.post("/v1/teams", content=team(name))).status_code == 201
        problem(await admin.post("/v1/teams", content=team(name, "another")), 409, "conflict")

        for answer in (
            await bob.post("/v1/teams", content=team(fresh("bobs"))),
            await bob.put(f"/v1/teams/{name}", content=team(name)),
            await bob.get(f"/v1/teams/{name}"),
            await bob.delete(f"/v1/teams/{name}"),
        ):
            problem(answer, 403, "forbidden")
        problem(await admin.get("/v1/teams/nobody"), 404, "not_found")
        problem(await admin.get(f"/v1/teams/{name}", params={"version": 9}), 404, "not_found")
        problem(await admin.get("/v1/teams/%00"), 400, "bad_request")


async def test_a_team_of_an_organisation_is_nobody_elses(two_workers: tuple[Door, Door], dsn: str) -> None:
    hub, _ = two_workers
    name = fresh("inner")
    seat = [{"name": "solo", "kind": "bot"}]
    token = await hub.register("bob")
    async with (
        await administrator(hub, dsn) as admin,
        hub.rest(token) as bob,
        await hub.enter(token) as stranger,
        await hub.enter(admin.headers["Authorization"].removeprefix("Bearer ")) as theirs,
    ):
        org = (await admin.post("/v1/organisations", json={"name": fresh("org")})).json()["id"]
        problem(await admin.post("/v1/teams?organisation=nowhere", content=team(name)), 404, "not_found")
        made = await admin.post("/v1/teams", params={"organisation": org}, content=team(name, agents=seat))
        assert made.json()["organisation"] == org
        other = (await admin.post("/v1/organisations", json={"name": fresh("org")})).json()["id"]
        problem(await admin.put(f"/v1/teams/{name}?organisation={other}", content=team(name)), 409, "conflict")
        kept = await admin.put(f"/v1/teams/{name}", content=team(name, agents=seat, description="e"))
        assert kept.json()["organisation"] == org

        assert name in await offered(admin)
        assert name not in await offered(bob)
        refused = problem(await bob.post("/v1/sessions", json={"team": name}), 400, "bad_request")
        assert name not in refused["details"]["teams"]
        with pytest.raises(Refused, match="not_found"):
            await stranger.ask("agent.register", agent="solo", team=name)
        await theirs.ask("agent.register", agent="solo", team=name)
        # Also who belongs to both opens no session with it elsewhere.
        problem(await admin.post("/v1/sessions", json={"team": name}), 400, "bad_request")
        assert (await admin.post("/v1/sessions", json={"team": name, "organisation": org})).status_code == 201


async def test_imports_of_one_team_wait_for_each_other_and_teams_are_bounded(store: Store) -> None:
    teams = Teams(store, names=lambda: Names(models=[], tools=[]), files=lambda: ())
    added = await asyncio.gather(*(teams.put(None, team("crew", f"agent{n}")) for n in range(5)))
    assert sorted(one.version for one in added) == [1, 2, 3, 4, 5]
    rows = "INSERT INTO teams (name, version, source) SELECT 'bulk' || g, 1, 'x' FROM generate_series(2, :teams) AS g"
    async with store.transaction() as db:
        await db.execute(text(rows), {"teams": MAX_TEAMS})
    with pytest.raises(Conflict, match="500 teams"):
        await teams.put(None, team("another"))
    assert (await teams.put(None, team("crew", "more"))).version == 6
