"""Search: one's own transcripts, what counts in them, page by page."""

import asyncio

import httpx2
import pytest

from hub.store.database import Store
from tests.api.people import Json, fresh, open_session, problem
from tests.driver import Door
from tests.runs.conversation import finish, log_of
from tests.runs.test_cutting import edited, exchange
from tests.runs.test_sending import room_for


async def find(rest: httpx2.AsyncClient, q: str, limit: int = 20) -> list[Json]:
    answer = await rest.get("/v1/search", params={"q": q, "limit": limit})
    assert answer.status_code == 200, answer.text
    items: list[Json] = answer.json()["items"]
    return items


async def test_words_are_found_where_they_were_said(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada, title="Fruit")
        sent = await exchange(ada, session, "Blue Bananas are <b>rare</b>; наш Грüße banana-split")
        hits = await find(rest, "bananas blue")
        assert [(h["author"].get("display_name") or h["author"]["name"]) for h in hits] == ["Beta", "Alpha", "ada"]
        assert (hits[2]["session"], hits[2]["title"], hits[2]["message"], hits[2]["seq"]) == (
            session,
            "Fruit",
            sent["message"],
            sent["seq"],
        )
        assert hits[2]["author"] == {"kind": "user", "id": ada.hello["user"]["id"], "name": "ada"}
        assert hits[2]["snippet"] == "Blue Bananas are <b>rare</b>; наш Грüße banana-split"
        assert hits[2]["created_at"].endswith("Z")
        for q, found in {
            '"blue bananas"': 3,
            '"bananas blue"': 0,
            "green or blue": 3,
            "blue -rare": 0,
            "НАШ грÜSSe": 0,
            "НАШ грÜße": 3,
            "' OR 1=1 --": 0,
            "((( & | ! :*": 0,
            "split:*": 3,
            '"': 0,
            "the": 0,
        }.items():
            assert len(await find(rest, q)) == found, q


async def test_a_long_message_is_found_and_its_snippet_is_short(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        await ada.say(session, "word " * 3000 + "needle " + "word " * 3000, to="alpha")
        (hit,) = await find(rest, "needle")
        assert hit["snippet"] == "…" + ("word " * 12 + "needle " + "word " * 40)[:200] + "…"


async def test_only_in_sessions_one_is_in(hub: Door) -> None:
    async with (
        await hub.person("ada") as ada,
        await hub.person("bob") as bob,
        hub.rest(ada.token) as hers,
        hub.rest(bob.token) as his,
    ):
        session = await room_for(ada)
        await exchange(ada, session, "secret words")
        assert await find(his, "secret") == []
        await hers.put(f"/v1/sessions/{session}/members/bob", json={"role": "viewer"})
        assert len(await find(his, "secret")) == 3
        await hers.delete(f"/v1/sessions/{session}/members/bob")
        assert await find(his, "secret") == []
        await hers.delete(f"/v1/sessions/{session}")
        assert await find(hers, "secret") == []


async def test_what_was_cut_is_not_found(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        sent = await exchange(ada, session, "mistake")
        answer = await edited(ada, session, sent["message"], "correction")
        await finish(ada, answer["run"])
        assert await find(rest, "mistake") == []
        assert len(await find(rest, "correction")) == 3


async def test_page_by_page(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        for _ in range(2):
            session = await room_for(ada)
            for n in range(3):
                await exchange(ada, session, f"needle {n}")
        found = await pages(rest, "needle", limit=4)
        assert found == await find(rest, "needle", limit=200)
        assert len({hit["message"] for hit in found}) == 18
        times = [hit["created_at"] for hit in found]
        assert times == sorted(times, reverse=True)


async def test_of_one_time_the_newest_copy_comes_first(hub: Door) -> None:
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        sessions = [await room_for(ada)]
        await exchange(ada, sessions[0], "needle")
        at_seq = (await log_of(hub, ada, sessions[0]))[-1]["seq"]
        for _ in range(4):
            copy = await ada.ask("session.fork", session=sessions[-1], at_seq=at_seq)
            sessions.append(copy["id"])
            at_seq = copy["last_seq"]
        found = await pages(rest, "needle", limit=2)
        assert found == await find(rest, "needle", limit=200)
        places = [(hit["author"].get("display_name") or hit["author"]["name"], hit["session"]) for hit in found]
        assert places == [(who, session) for who in ("Beta", "Alpha", "ada") for session in reversed(sessions)]


async def pages(rest: httpx2.AsyncClient, q: str, limit: int) -> list[Json]:
    """What is found, page by page."""
    found: list[Json] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await rest.get("/v1/search", params={"q": q, "limit": limit, **cursor})).json()
        found += page["items"]
        assert len(page["items"]) <= limit
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("params", [{}, {"q": ""}, {"q": "x" * 501}, {"q": "a\0b"}, {"q": "x", "cursor": "eA"}])
async def test_bad_questions(hub: Door, params: dict[str, str]) -> None:
    token = await hub.register(fresh("ada"))
    async with hub.rest(token) as rest:
        problem(await rest.get("/v1/search", params=params), 400, "bad_request")


async def test_a_key_needs_the_scope(hub: Door) -> None:
    token = await hub.register(fresh("ada"))
    async with hub.rest(token) as rest:
        session = await open_session(rest)
        await rest.post(f"/v1/sessions/{session}/messages", json={"text": "needle"})
        for scope, status in (("sessions:read", 200), ("sessions:write", 403)):
            key = (await rest.post("/v1/api-keys", json={"name": "k", "scopes": [scope]})).json()["key"]
            async with hub.rest(key) as other:
                assert (await other.get("/v1/search", params={"q": "needle"})).status_code == status


async def test_no_text_is_too_much_for_the_index(hub: Door, store: Store) -> None:
    """Whatever an agent says can be stored: words beyond the bound are not found, and do no harm."""
    async with await hub.person("ada") as ada, hub.rest(ada.token) as rest:
        session = await room_for(ada)
        await exchange(ada, session, "hello")
        for text in (
            "".join(f"{n:x}\U0001f34c{n:x} " for n in range(200_000)),
            "w" * 3_000_000,
            "ø" * 90_000 + " tail",
        ):
            async with store.transaction() as db:
                await db.connection.execute("UPDATE messages SET text = $2 WHERE session_id = $1", session, text)
        assert len(await find(rest, "tail")) == 3
        assert await asyncio.wait_for(find(rest, "hello"), 30) == []
