"""Invites by link: whom they let in, whom they do not, and what they tell nobody."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx2
import pytest

from tests.api.people import Json, fresh, open_session, problem, somebody
from tests.driver import Door

ACCEPT = "/v1/invites/accept"


async def invite(owner: httpx2.AsyncClient, session: str, role: str = "editor", **fields: object) -> Json:
    answer = await owner.post(f"/v1/sessions/{session}/invites", json={"role": role, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: Json = answer.json()
    return made


async def accept(guest: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await guest.post(ACCEPT, json={"token": token})


async def refused(guest: httpx2.AsyncClient, token: str) -> Json:
    told = problem(await accept(guest, token), 404, "not_found")
    del told["request"]
    return told


async def test_a_link_lets_one_person_in_and_everybody_there_sees_it(hub: Door) -> None:
    name = fresh("ann")
    async with somebody(hub, name) as ann, somebody(hub) as bob, somebody(hub) as eve:
        session = await open_session(ann, title="Plans")
        made = await invite(ann, session, "approver")
        token = made.pop("token")
        assert token.startswith("inv_")
        assert len(token) > 40
        assert (made["session"], made["role"], made["max_uses"], made["uses"]) == (session, "approver", 1, 0)
        listed = await ann.get(f"/v1/sessions/{session}/invites")
        assert listed.json() == {"items": [made], "next": None}
        assert token not in listed.text
        async with await hub.enter(await hub.sign_in(name)) as watcher:
            await watcher.ask("session.join", session=session)
            entered = (await accept(bob, token)).json()
            assert (entered["id"], entered["role"], entered["title"]) == (session, "approver", "Plans")
            me = (await bob.get("/v1/me")).json()
            await watcher.until("member.added", user=me["id"], name=me["name"], role="approver")
        # The answer may have been lost: who is in asks again and hears the same.
        assert (await accept(bob, token)).json()["id"] == session
        assert (await ann.get(f"/v1/sessions/{session}/invites")).json()["items"] == []
        await refused(eve, token)


async def test_what_lets_nobody_in_looks_as_if_it_had_never_been(hub: Door) -> None:
    async with somebody(hub) as ann, somebody(hub) as bob, somebody(hub) as eve, somebody(hub) as mallory:
        session = await open_session(ann)
        told = [await refused(mallory, token) for token in ("inv_", "x", "inv_" + "A" * 43, "ä", "' OR 1=1 --")]

        used_up = (await invite(ann, session))["token"]
        assert (await accept(bob, used_up)).status_code == 200
        told.append(await refused(mallory, used_up))

        revoked = await invite(ann, session)
        gone = await ann.delete(f"/v1/sessions/{session}/invites/{revoked['id']}")
        assert gone.status_code == 204
        told.append(await refused(mallory, revoked["token"]))
        problem(await ann.delete(f"/v1/sessions/{session}/invites/{revoked['id']}"), 404, "not_found")

        # Somebody who must not add members any more has no guests either.
        eve_id = (await eve.get("/v1/me")).json()["id"]
        await ann.put(f"/v1/sessions/{session}/members/{eve_id}", json={"role": "owner"})
        demoted = (await invite(eve, session))["token"]
        await ann.put(f"/v1/sessions/{session}/members/{eve_id}", json={"role": "editor"})
        told.append(await refused(mallory, demoted))

        other = await open_session(ann)
        deleted = (await invite(ann, other))["token"]
        await ann.delete(f"/v1/sessions/{other}")
        told.append(await refused(mallory, deleted))
        assert [one for one in told if one != told[0]] == []


async def test_a_link_ends_by_the_clock(hub: Door) -> None:
    async with somebody(hub) as ann, somebody(hub) as bob:
        session = await open_session(ann)
        soon = datetime.now(UTC) + timedelta(seconds=2.5)
        token = (await invite(ann, session, expires_at=soon.isoformat(), max_uses=5))["token"]
        async with asyncio.timeout(90):
            while (await ann.get(f"/v1/sessions/{session}/invites")).json()["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await refused(bob, token)


async def test_who_is_taken_out_does_not_come_back_by_a_link(hub: Door) -> None:
    async with somebody(hub) as ann, somebody(hub) as bob:
        session = await open_session(ann)
        token = (await invite(ann, session, max_uses=5))["token"]
        assert (await accept(bob, token)).status_code == 200
        me = (await bob.get("/v1/me")).json()["id"]
        assert (await bob.delete(f"/v1/sessions/{session}/members/{me}")).status_code == 204
        assert (await accept(bob, token)).status_code == 200, "who has left may come back"
        assert (await ann.delete(f"/v1/sessions/{session}/members/{me}")).status_code == 204
        await refused(bob, token)


async def test_members_stay_what_they_are(hub: Door) -> None:
    """Otherwise who was made a viewer would be an editor again by the old link."""
    async with somebody(hub) as ann, somebody(hub) as bob:
        session = await open_session(ann)
        token = (await invite(ann, session, "editor", max_uses=2))["token"]
        assert (await accept(bob, token)).json()["role"] == "editor"
        me = (await bob.get("/v1/me")).json()["id"]
        await ann.put(f"/v1/sessions/{session}/members/{me}", json={"role": "viewer"})
        assert (await accept(bob, token)).json()["role"] == "viewer"
        assert (await accept(ann, token)).json()["role"] == "owner"
        assert (await ann.get(f"/v1/sessions/{session}/invites")).json()["items"][0]["uses"] == 1


async def test_of_many_at_once_as_many_as_it_is_for_come_in(hub: Door) -> None:
    async with somebody(hub) as ann:
        session = await open_session(ann)
        token = (await invite(ann, session, max_uses=2))["token"]
        guests = [await hub.register(fresh("guest")) for _ in range(5)]

        async def try_(guest: str) -> int:
            async with hub.rest(guest) as rest:
                return (await accept(rest, token)).status_code

        assert sorted(await asyncio.gather(*map(try_, guests))) == [200, 200, 404, 404, 404]
        assert len((await ann.get(f"/v1/sessions/{session}/members")).json()["items"]) == 3


async def test_links_have_bounds(hub: Door) -> None:
    async with somebody(hub) as ann:
        session = await open_session(ann)
        url = f"/v1/sessions/{session}/invites"
        now = datetime.now(UTC)
        for body in (
            {},
            {"role": "owner"},
            {"role": "viewer", "max_uses": 0},
            {"role": "viewer", "max_uses": 1001},
            {"role": "viewer", "max_uses": True},
            {"role": "viewer", "expires_at": now.isoformat()},
            {"role": "viewer", "expires_at": (now + timedelta(days=31)).isoformat()},
            {"role": "viewer", "expires_at": "2026-01-01T00:00:00"},
            {"role": "viewer", "to": "bob"},
        ):
            problem(await ann.post(url, json=body), 400, "bad_request")
        for wrong in ({}, {"token": ""}, {"token": "x" * 201}, {"token": "\x00"}, {"token": 7}):
            problem(await ann.post(ACCEPT, json=wrong), 400, "bad_request")
        tokens = [one for _ in range(20) for one in await asyncio.gather(*(invite(ann, session) for _ in range(5)))]
        problem(await ann.post(url, json={"role": "viewer"}), 409, "conflict")
        assert len({one["token"] for one in tokens}) == 100
        first = (await ann.get(url, params={"limit": 60})).json()
        rest = (await ann.get(url, params={"limit": 60, "cursor": first["next"]})).json()
        assert {one["id"] for one in first["items"] + rest["items"]} == {one["id"] for one in tokens}
        assert rest["next"] is None


@pytest.mark.parametrize(("scopes", "status"), [(["sessions:write"], 404), (["sessions:read"], 403)])
async def test_a_key_needs_the_scope_to_write(hub: Door, scopes: list[str], status: int) -> None:
    async with somebody(hub) as ann:
        key = (await ann.post("/v1/api-keys", json={"name": "k", "scopes": scopes})).json()["key"]
    async with hub.rest(key) as bot:
        assert (await accept(bot, "inv_unknown")).status_code == status


async def test_only_a_hash_is_kept_and_the_trail_tells_who_and_from_where(fresh_hub: Door, dsn: str) -> None:
    async with somebody(fresh_hub) as ann, somebody(fresh_hub) as bob:
        session = await open_session(ann)
        made = await invite(ann, session, max_uses=2)
        assert (await accept(bob, made["token"])).status_code == 200
        assert (await ann.delete(f"/v1/sessions/{session}/invites/{made['id']}")).status_code == 204
        kept = await invite(ann, session)
        people = [(await rest.get("/v1/me")).json()["id"] for rest in (ann, bob)]
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT action, actor::text, address, detail FROM audit ORDER BY id")
    text = await connection.fetchval("SELECT row_to_json(i)::text FROM invites i")
    await connection.close()
    assert [(row["action"], row["actor"], row["address"]) for row in rows if row["action"].startswith("invite.")] == [
        ("invite.create", people[0], "127.0.0.1"),
        ("invite.accept", people[1], "127.0.0.1"),
        ("invite.revoke", people[0], "127.0.0.1"),
        ("invite.create", people[0], "127.0.0.1"),
    ]
    assert {"invite": made["id"], "role": "editor"} in [json.loads(row["detail"]) for row in rows]
    assert kept["id"] in text
    assert kept["token"].removeprefix("inv_") not in text
