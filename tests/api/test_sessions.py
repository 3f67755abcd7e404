"""Sessions, members, messages and runs over REST."""

import asyncio
import time

import httpx2
import pytest

from tests.api.people import Json, fresh, open_session, problem, somebody
from tests.driver import Door


async def finished(rest: httpx2.AsyncClient, run: str) -> Json:
    """The run, once it has ended."""
    deadline = time.monotonic() + 60
    while True:
        answer: Json = (await rest.get(f"/v1/runs/{run}")).json()
        if answer["status"] in ("completed", "failed", "cancelled"):
            return answer
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.02)


async def test_the_life_of_a_session(hub: Door) -> None:
    async with somebody(hub) as rest:
        made = await rest.post("/v1/sessions", json={"team": "scripted", "title": "Plan", "metadata": {"a": [1]}})
        assert made.status_code == 201
        session = made.json()
        assert set(session) >= {
            "id", "title", "team", "role", "status", "last_seq", "on_busy", "created_at", "updated_at", "metadata",
        }  # fmt: skip
        assert (session["role"], session["status"], session["on_busy"]) == ("owner", "idle", "queue")
        here = f"/v1/sessions/{session['id']}"
        assert (await rest.get(here)).json() == session
        changed = (await rest.patch(here, json={"title": "Plan B", "on_busy": "reject"})).json()
        assert (changed["title"], changed["on_busy"], changed["metadata"]) == ("Plan B", "reject", {"a": [1]})
        assert changed["last_seq"] > session["last_seq"]
        assert [s["id"] for s in (await rest.get("/v1/sessions")).json()["items"]] == [session["id"]]
        gone = await rest.delete(here)
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await rest.get(here), 404, "not_found")
        assert (await rest.get("/v1/sessions")).json() == {"items": [], "next": None}


async def test_a_list_tells_how_sessions_without_a_title_begin(hub: Door) -> None:
    async with somebody(hub) as rest:
        silent = await open_session(rest)
        said = (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        titled = (await rest.post("/v1/sessions", json={"team": "scripted", "title": "Plan"})).json()["id"]
        for session in (said, titled):
            sent = await rest.post(f"/v1/sessions/{session}/messages", json={"text": "/script turns=1 " + "é" * 300})
            await finished(rest, sent.json()["run"])
        listed = {one["id"]: one.get("preview") for one in (await rest.get("/v1/sessions")).json()["items"]}
        assert listed == {silent: None, titled: None, said: ("/script turns=1 " + "é" * 300)[:200]}
        assert "preview" not in (await rest.get(f"/v1/sessions/{titled}")).json()


async def test_sessions_come_in_pages_newest_first(hub: Door) -> None:
    async with somebody(hub) as rest:
        made = [await open_session(rest) for _ in range(5)]
        seen: list[str] = []
        cursor = None
        while True:
            params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await rest.get("/v1/sessions", params=params)).json()
            assert len(page["items"]) <= 2
            seen += [session["id"] for session in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == made[::-1]


async def test_every_list_comes_in_pages_when_asked(hub: Door) -> None:
    async with hub.rest(await hub.register("ada")) as rest:
        session = await open_session(rest)
        for name in ("bob", "cem"):
            await hub.register(name)
            assert (await rest.put(f"/v1/sessions/{session}/members/{name}", json={"role": "viewer"})).is_success
        of_one = f"/v1/sessions/{session}"
        paths = ("/v1/teams", f"{of_one}/members", f"{of_one}/budgets", "/v1/auth/sign-ins", "/v1/organisations")
        for path in paths:
            whole = (await rest.get(path)).json()
            assert whole["next"] is None, path
            items: list[Json] = []
            params = {"limit": "1"}
            while True:
                page = (await rest.get(path, params=params)).json()
                assert len(page["items"]) <= 1, path
                items += page["items"]
                if page["next"] is None:
                    break
                params["cursor"] = page["next"]
            assert items == whole["items"], path
            for wrong in ({"limit": "0"}, {"cursor": "nonsense"}):
                assert (await rest.get(path, params=wrong)).status_code == 400, (path, wrong)
        # Who was last on a page leaves before the next one: nobody is left out.
        page = (await rest.get(f"{of_one}/members", params={"limit": "2"})).json()
        await rest.delete(f"{of_one}/members/{page['items'][1]['user']}")
        left = (await rest.get(f"{of_one}/members", params={"cursor": page["next"]})).json()["items"]
        assert len({member["user"] for member in page["items"] + left}) == 3


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"cursor": "nonsense"}, {"cursor": "\x00"}]
)
async def test_a_page_that_cannot_be(hub: Door, params: dict[str, str]) -> None:
    async with somebody(hub) as rest:
        problem(await rest.get("/v1/sessions", params=params), 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"team": "no-such-team"},
        {"team": 7},
        {"team": "scripted", "title": "x" * 201},
        {"team": "scripted", "title": "\x00"},
        {"team": "scripted", "metadata": []},
        {"team": "scripted", "metadata": {"a": "x" * 20_000}},
        {"team": "scripted", "metadata": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}},
        {"team": "scripted", "on_busy": "explode"},
        {"team": "scripted", "unknown": 1},
    ],
)
async def test_a_session_that_cannot_be(hub: Door, body: dict[str, object]) -> None:
    async with somebody(hub) as rest:
        problem(await rest.post("/v1/sessions", json=body), 400, "bad_request")


async def test_members_come_change_and_go(hub: Door) -> None:
    ann_name, bob_name = fresh("ann"), fresh("bob")
    async with somebody(hub, ann_name) as ann, somebody(hub, bob_name) as bob:
        here = f"/v1/sessions/{await open_session(ann)}"
        problem(await bob.get(here), 404, "not_found")
        bob_id = (await bob.get("/v1/me")).json()["id"]
        added = await ann.put(f"{here}/members/{bob_name}", json={"role": "viewer"})
        assert (added.status_code, added.json()) == (200, {"user": bob_id, "name": bob_name, "role": "viewer"})
        assert (await bob.get(here)).json()["role"] == "viewer"
        changed = await ann.put(f"{here}/members/{bob_id}", json={"role": "editor"})
        assert changed.json()["role"] == "editor"
        members = (await bob.get(f"{here}/members")).json()
        assert {m["name"]: m["role"] for m in members["items"]} == {ann_name: "owner", bob_name: "editor"}
        problem(await bob.put(f"{here}/members/{bob_name}", json={"role": "owner"}), 403, "forbidden")
        problem(await ann.put(f"{here}/members/{ann_name}", json={"role": "viewer"}), 409, "conflict")
        problem(await ann.put(f"{here}/members/eve", json={"role": "viewer"}), 404, "not_found")
        problem(await ann.put(f"{here}/members/{bob_name}", json={"role": "king"}), 400, "bad_request")
        gone = await ann.delete(f"{here}/members/{bob_name}")
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await bob.get(here), 404, "not_found")
        problem(await ann.delete(f"{here}/members/{bob_name}"), 404, "not_found")
        problem(await ann.delete(f"{here}/members/{ann_name}"), 409, "conflict")


# What each role may do, call by call; everybody else gets `forbidden`, strangers `not_found`.
CALLS: list[tuple[str, str, Json | None, str]] = [
    ("GET", "", None, "viewer"),
    ("GET", "/members", None, "viewer"),
    ("GET", "/events", None, "viewer"),
    ("GET", "/transcript", None, "viewer"),
    ("POST", "/messages", {"text": "/script turns=1 tokens=1"}, "editor"),
    ("PATCH", "", {"title": "new"}, "editor"),
    ("PUT", "/members/{eve}", {"role": "viewer"}, "owner"),
    ("DELETE", "/members/{eve}", None, "owner"),
    ("DELETE", "", None, "owner"),
]
RANK = {"viewer": 0, "approver": 1, "editor": 2, "owner": 3}


@pytest.mark.parametrize("role", [None, *RANK])
async def test_every_call_asks_for_the_role_it_needs(hub: Door, role: str | None) -> None:
    bob_name, eve_name = fresh("bob"), fresh("eve")
    async with somebody(hub) as ann, somebody(hub, bob_name) as bob, somebody(hub, eve_name):
        here = f"/v1/sessions/{await open_session(ann)}"
        if role is not None:
            await ann.put(f"{here}/members/{bob_name}", json={"role": role})
        for method, path, body, needed in CALLS:
            answer = await bob.request(method, here + path.format(eve=eve_name), json=body)
            if role is None:
                problem(answer, 404, "not_found")
            elif RANK[role] < RANK[needed]:
                problem(answer, 403, "forbidden")
            else:
                assert answer.status_code < 300, (method, path, answer.text)


@pytest.mark.parametrize(
    "id_",
    ["0190b5a0-0000-7000-8000-000000000000", "x", "00000000-0000-0000-0000-000000000000", "x" * 300, "..", "%00", "'"],
)
async def test_what_does_not_exist_looks_like_what_is_forbidden(hub: Door, id_: str) -> None:
    async with somebody(hub) as ann, somebody(hub) as bob:
        foreign = await open_session(ann)
        for path in ("", "/events", "/transcript", "/events/stream"):
            unknown = problem(await bob.get(f"/v1/sessions/{id_}{path}"), 404, "not_found")
            hidden = problem(await bob.get(f"/v1/sessions/{foreign}{path}"), 404, "not_found")
            if id_ not in ("..", "%00") and len(id_) < 100:
                assert {**unknown, "request": 0} == {**hidden, "request": 0}
        for method, path in (("GET", ""), ("POST", "/cancel")):
            problem(await bob.request(method, f"/v1/runs/{id_}{path}"), 404, "not_found")


# ---- messages and runs


async def test_a_message_starts_a_run(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        sent = await rest.post(f"/v1/sessions/{session}/messages", json={"text": "/script turns=2 tokens=3"})
        assert sent.status_code == 201
        assert set(sent.json()) == {"seq", "message", "run"}
        run = await finished(rest, sent.json()["run"])
        assert (run["status"], run["session"], run["input_seq"]) == ("completed", session, sent.json()["seq"])
        assert set(run) >= {
            "id", "session", "status", "team", "attempt", "input_seq", "usage", "created_at", "finished_at",
        }  # fmt: skip
        again = (await rest.post(f"/v1/runs/{run['id']}/cancel")).json()
        assert again == {"run": run["id"], "status": "completed"}


async def test_a_run_is_stopped(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        sent = await rest.post(f"/v1/sessions/{session}/messages", json={"text": "/script turns=1 tokens=5 stall_at=2"})
        stopped = await rest.post(f"/v1/runs/{sent.json()['run']}/cancel")
        assert stopped.status_code == 200
        assert (await finished(rest, sent.json()["run"]))["status"] == "cancelled"


async def test_the_same_key_gives_the_same_answer(hub: Door) -> None:
    async with somebody(hub) as rest:
        messages = f"/v1/sessions/{await open_session(rest)}/messages"
        body = {"text": "/script turns=1 tokens=1"}
        first = await rest.post(messages, json=body, headers={"Idempotency-Key": "k1"})
        again = await rest.post(messages, json=body, headers={"Idempotency-Key": "k1"})
        in_body = await rest.post(messages, json={**body, "client_id": "k1"})
        assert first.json() == again.json() == in_body.json()
        other = await rest.post(messages, json={"text": "else"}, headers={"Idempotency-Key": "k1"})
        problem(other, 409, "idempotency_conflict")
        differ = await rest.post(messages, json={**body, "client_id": "k2"}, headers={"Idempotency-Key": "k1"})
        problem(differ, 400, "bad_request")
        unkeyed = {(await rest.post(messages, json=body)).json()["message"] for _ in range(2)}
        assert len(unkeyed) == 2


async def test_a_message_of_parts(hub: Door) -> None:
    async with somebody(hub) as rest:
        here = f"/v1/sessions/{await open_session(rest)}"
        parts = [{"type": "text", "text": "/script turns=1 tokens=1"}]
        assert (await rest.post(f"{here}/messages", json={"parts": parts})).status_code == 201
        events = (await rest.get(f"{here}/events")).json()["items"]
        created = next(e for e in events if e["type"] == "message.created")
        assert created["data"]["parts"] == parts


async def test_a_busy_session_may_refuse(hub: Door) -> None:
    async with somebody(hub) as rest:
        messages = f"/v1/sessions/{await open_session(rest)}/messages"
        await rest.post(messages, json={"text": "/script turns=1 tokens=5 stall_at=1"})
        told = problem(await rest.post(messages, json={"text": "hi", "on_busy": "reject"}), 409, "busy")
        assert told["retryable"] is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "x" * 32_001},
        {"text": "a\x00b"},
        {"text": 7},
        {"text": "hi", "to": "nobody"},
        {"text": "hi", "on_busy": "explode"},
        {"text": "hi", "client_id": "x" * 65},
        {"parts": []},
        {"parts": [{"type": "image", "url": "x"}]},
        {"parts": [{"type": "text", "text": "x" * 20_000}] * 2},
        {"text": "hi", "unknown": 1},
    ],
)
async def test_a_message_that_cannot_be(hub: Door, body: dict[str, object]) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        problem(await rest.post(f"/v1/sessions/{session}/messages", json=body), 400, "bad_request")


async def test_teams(hub: Door) -> None:
    async with somebody(hub) as rest:
        listed = (await rest.get("/v1/teams")).json()
        teams = {team["name"]: team for team in listed["items"]}
        assert {"scripted", "scripted-autogen", "scripted-tools", "duo", "startup"} <= set(teams)
        assert set(teams["duo"]) == {"name", "description", "model", "agents", "version"}
        assert all(
            set(agent) == {"name", "display_name", "kind"} for team in teams.values() for agent in team["agents"]
        )
        assert listed["next"] is None
    async with hub.rest() as stranger:
        problem(await stranger.get("/v1/teams"), 401, "unauthenticated")
