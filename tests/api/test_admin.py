"""What administrators may do, what it does to open connections, and the trail it leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx2
import pytest

from tests.api.people import Json, fresh, problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door

PROMISED_S = 5.0


@dataclass(frozen=True)
class Office:
    door: Door
    dsn: str
    admin: httpx2.AsyncClient
    admin_id: str

    async def user(self) -> tuple[str, str, str]:
        """Somebody: name, id, token."""
        name = fresh("somebody")
        token = await self.door.register(name)
        async with self.door.rest(token) as rest:
            return name, (await rest.get("/v1/me")).json()["id"], token

    async def trail(self, **query: str) -> list[Json]:
        answer = await self.admin.get("/v1/admin/audit", params={"limit": "1000", **query})
        assert answer.headers["content-type"] == "application/jsonl"
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
async def office(cluster: Cluster, valkey_server: str) -> AsyncIterator[Office]:
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server)) as door:
        name = fresh("admin")
        token = await door.register(name)
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE users SET is_admin = true WHERE name = $1", name)
        await connection.close()
        async with door.rest(token) as admin:
            yield Office(door, dsn, admin, (await admin.get("/v1/me")).json()["id"])
    await cluster.drop(dsn)


async def test_accounts_are_listed_in_pages(office: Office) -> None:
    made = [(await office.user())[1] for _ in range(3)]
    first = (await office.admin.get("/v1/admin/users", params={"limit": 2})).json()
    second = (await office.admin.get("/v1/admin/users", params={"limit": 2, "cursor": first["next"]})).json()
    assert [one["id"] for one in first["items"] + second["items"]][:3] == made[::-1]
    assert first["items"][0]["suspended_at"] is None
    assert "hash" not in json.dumps(first)


async def test_what_suspended_people_have_asked_for_is_stopped(office: Office) -> None:
    """Also for who was suspended by the operator, and what came at the last moment."""
    name, _, token = await office.user()
    gone, _, gone_token = await office.user()
    _, _, friends_token = await office.user()
    long = "/script turns=1 tokens=5000 rate=20"
    async with (
        office.door.rest(friends_token) as friends,
        await office.door.enter(friends_token) as friend,
        await office.door.enter(token) as person,
        await office.door.enter(gone_token) as other,
    ):
        session = (await friends.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        await friend.ask("session.join", session=session)
        for who in (name, gone):
            await friends.put(f"/v1/sessions/{session}/members/{who}", json={"role": "editor"})
        asked = [(await one.say(session, long))["run"] for one in (person, person, other)]
        await friend.expect("message.delta")
        kept = (await friend.say(session, "/script turns=1 tokens=1"))["run"]
        # As the operator does it, a while ago: no worker was told.
        connection = await asyncpg.connect(office.dsn)
        await connection.execute("UPDATE users SET disabled_at = now() - interval '1 hour' WHERE name = $1", gone)
        await connection.close()
        assert (await office.admin.post(f"/v1/admin/users/{name}/suspend")).is_success
        ends: dict[str, tuple[str, str]] = {}
        while len(ends) < 4:
            told = (await friend.until("run.finished"))[-1]
            ends[told["run"]] = (told["data"]["status"], told["data"]["reason"])
    assert ends == dict.fromkeys(asked, ("cancelled", "user suspended")) | {kept: ("completed", "done")}


async def test_a_suspended_user_is_out_within_seconds_everywhere_until_restored(office: Office) -> None:
    name, id_, token = await office.user()
    async with office.door.rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        pair = (await rest.post("/v1/auth/token", data=form)).json()
        async with await office.door.enter(token) as person, await office.door.enter(key) as bot:
            answer = await office.admin.post(f"/v1/admin/users/{id_}/suspend")
            assert answer.json()["suspended_at"]
            async with asyncio.timeout(PROMISED_S):
                assert [await person.closed(), await bot.closed()] == [4503, 4503]
        refresh = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
        for data in (form, refresh):
            problem(await rest.post("/v1/auth/token", data=data), 401, "unauthenticated")
        for credential in (token, key, pair["access_token"]):
            shown = {"Authorization": f"Bearer {credential}"}
            problem(await rest.get("/v1/me", headers=shown), 401, "unauthenticated")
        assert (await office.admin.post(f"/v1/admin/users/{id_}/restore")).json()["suspended_at"] is None
        assert (await rest.post("/v1/auth/token", data=form)).status_code == 200
        # What the suspension ended does not come back with it; the key was only asleep.
        problem(await rest.post("/v1/auth/token", data=refresh), 401, "unauthenticated")
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
        assert (await rest.get("/v1/me", headers={"Authorization": f"Bearer {key}"})).status_code == 200


async def test_signing_somebody_out_and_revoking_their_key(office: Office) -> None:
    _, id_, token = await office.user()
    async with office.door.rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()
        (listed,) = (await office.admin.get(f"/v1/admin/users/{id_}/api-keys")).json()["items"]
        assert listed["id"] == key["id"]
        assert "key" not in listed
        async with await office.door.enter(token) as person, await office.door.enter(key["key"]) as bot:
            assert (await office.admin.post(f"/v1/admin/users/{id_}/signout", json={})).status_code == 200
            async with asyncio.timeout(PROMISED_S):
                assert await person.closed() == 4503
            await bot.ask("ping")
            assert (await office.admin.delete(f"/v1/admin/api-keys/{key['id']}")).status_code == 200
            async with asyncio.timeout(PROMISED_S):
                assert await bot.closed() == 4503
        problem(await office.admin.delete(f"/v1/admin/api-keys/{key['id']}"), 404, "not_found")


async def test_an_administrator_is_a_stranger_in_sessions_and_cannot_lock_themselves_out(office: Office) -> None:
    problem(await office.admin.post(f"/v1/admin/users/{office.admin_id}/suspend"), 409, "conflict")
    _, _, token = await office.user()
    async with office.door.rest(token) as rest:
        session = (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
    for path in ("", "/events", "/transcript", "/members"):
        problem(await office.admin.get(f"/v1/sessions/{session}{path}"), 404, "not_found")


async def test_the_trail_tells_who_did_what_to_what_from_where(office: Office) -> None:
    name, id_, _ = await office.user()
    await office.admin.post(f"/v1/admin/users/{name}/suspend")
    about = await office.trail(object=f"user:{id_}")
    assert [entry["action"] for entry in about] == ["user.create", "user.sign_in", "user.suspend"]
    assert about[-1] | {"id": 0, "at": ""} == {
        "id": 0,
        "at": "",
        "actor": office.admin_id,
        "action": "user.suspend",
        "object": f"user:{id_}",
        "address": "127.0.0.1",
        "detail": {},
    }
    assert await office.trail(object=f"user:{id_}", after=str(about[1]["id"])) == about[2:]
    by = await office.trail(actor=office.admin_id)
    assert {entry["actor"] for entry in by} == {office.admin_id}
    assert await office.trail(actor="nobody") == []
    everything = await office.trail()
    ids = [entry["id"] for entry in everything]
    assert ids == sorted(ids)
    assert PASSWORD not in json.dumps(everything)


@pytest.mark.parametrize("statement", ["UPDATE audit SET action = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_the_trail_cannot_be_changed(office: Office, statement: str) -> None:
    before = await office.trail()
    connection = await asyncpg.connect(office.dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement)
    finally:
        await connection.close()
    assert (await office.trail())[: len(before)] == before
