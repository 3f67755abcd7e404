"""Exports hold everything, in order and once, nothing that lets anybody in, and only for who may have it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.people import Json, fresh, problem
from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import PASSWORD, Door

PAGE = 200  # lines that are read at once


@dataclass(frozen=True)
class Office:
    door: Door
    dsn: str
    admin: httpx2.AsyncClient

    async def user(self) -> tuple[str, str]:
        """Somebody new: name and token."""
        name = fresh("exported")
        return name, await self.door.register(name)

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def office(cluster: Cluster, valkey_server: str) -> AsyncIterator[Office]:
    dsn = await cluster.clone()
    async with running_worker(settings_for(dsn, valkey_server)) as door:
        token = await door.register(name := fresh("admin"))
        async with door.rest(token) as admin:
            office = Office(door, dsn, admin)
            await office.sql("UPDATE users SET is_admin = true WHERE name = $1", name)
            yield office
    await cluster.drop(dsn)


async def lines(rest: httpx2.AsyncClient, path: str) -> list[Json]:
    """The lines of an export that is whole."""
    answer = await rest.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith("attachment;")
    found: list[Json] = [json.loads(line) for line in answer.text.splitlines()]
    assert found[0]["kind"] == "export"
    assert found[-1] == {"kind": "end", "lines": len(found) - 2}
    return found[1:-1]


def of(found: list[Json], kind: str) -> list[Json]:
    return [{k: v for k, v in line.items() if k != "kind"} for line in found if line["kind"] == kind]


async def test_a_session_is_exported_whole_and_in_order(office: Office) -> None:
    name, token = await office.user()
    guest, _ = await office.user()
    async with office.door.rest(token) as rest, await office.door.enter(token) as person:
        session = (await rest.post("/v1/sessions", json={"team": "scripted", "title": "all of it"})).json()["id"]
        await rest.put(f"/v1/sessions/{session}/members/{guest}", json={"role": "viewer"})
        await rest.post(f"/v1/sessions/{session}/invites", json={"role": "viewer"})
        await person.ask("session.join", session=session)
        await person.say(session, "something to keep")
        await person.expect("run.finished")
        # More than a page, and exactly two: the seam is where something is lost or comes twice.
        known = (await rest.get(f"/v1/sessions/{session}")).json()["last_seq"]
        await office.sql(
            """
            WITH place AS (
                UPDATE sessions SET last_seq = last_seq + $2::int WHERE id = $1::uuid
                RETURNING last_seq - $2::int AS before)
            INSERT INTO events (session_id, seq, type, ts, data)
            SELECT $1::uuid, before + n, 'budget.reached', clock_timestamp(),
                   '{"scope":"run","quantity":"tokens","limit":1,"used":1}'
            FROM place, generate_series(1, $2::int) AS n
            """,
            session,
            2 * PAGE - known,
        )
        found = await lines(rest, f"/v1/sessions/{session}/export")
        log = [*(await rest.get(f"/v1/sessions/{session}/events?limit=1000")).json()["items"]]
    assert len(log) == 2 * PAGE
    (about,) = of(found, "session")
    assert about["title"] == "all of it"
    assert {one["name"]: one["role"] for one in of(found, "member")} == {name: "owner", guest: "viewer"}
    assert len(of(found, "invite")) == 1
    exported = of(found, "event")
    assert [event["seq"] for event in exported] == list(range(1, 2 * PAGE + 1))
    for event, logged in zip(exported, log, strict=True):
        assert (event["type"], event["data"], event["run"]) == (logged["type"], logged["data"], logged.get("run"))
        assert event["ts"] == logged["ts"]
    (run,) = of(found, "run")
    assert run["status"] == "completed"
    assert of(found, "usage")
    assert "secret" not in json.dumps(found)


async def test_a_person_gets_all_of_their_own_and_nothing_that_lets_anybody_in(office: Office) -> None:
    name, token = await office.user()
    _, other_token = await office.user()
    async with office.door.rest(token) as rest, office.door.rest(other_token) as other:
        me = (await rest.get("/v1/me")).json()["id"]
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()
        mine = (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        left = (await other.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        await other.put(f"/v1/sessions/{left}/members/{name}", json={"role": "editor"})
        texts = [f"word {n}" for n in range(3)]
        for session, text in zip((mine, left, left), texts, strict=True):
            await rest.post(f"/v1/sessions/{session}/messages", json={"text": text})
        await other.post(f"/v1/sessions/{left}/messages", json={"text": "not theirs"})
        await rest.delete(f"/v1/sessions/{left}/members/{name}")
        found = await lines(rest, "/v1/me/export")
        by_admin = await lines(office.admin, f"/v1/admin/users/{name}/export")
    (account,) = of(found, "user")
    assert (account["user"], account["name"], account["has_password"]) == (me, name, True)
    assert sorted(one["text"] for one in of(found, "message")) == texts  # also where they have left
    assert [one["session"] for one in of(found, "membership")] == [mine]
    assert [one["key"] for one in of(found, "api_key")] == [key["id"]]
    assert of(found, "sign_in")
    assert of(found, "organisation")
    assert {one["requested_by"] for one in of(found, "run")} == {me}
    actions = [one["action"] for one in of(found, "audit")]
    assert actions[:2] == ["user.create", "user.sign_in"]
    assert actions[-1] == "user.export"
    told = json.dumps(found)
    assert "not theirs" not in told
    stored = [
        *await office.sql("SELECT encode(secret_hash, 'hex') AS h, encode(secret_hash, 'base64') AS b FROM api_keys")
    ]
    stored += await office.sql(
        "SELECT encode(token_hash, 'hex') AS h, encode(token_hash, 'base64') AS b FROM refresh_tokens"
    )
    stored += await office.sql("SELECT password_hash AS h, name_key || '-no' AS b FROM users")
    for row in stored:
        assert row["h"] not in told
        assert row["b"].strip() not in told
    assert key["key"] not in told
    assert PASSWORD not in told
    # The same, but for its own trace in the trail and what the runs have come to since.
    assert of(by_admin, "user") == of(found, "user")
    assert of(by_admin, "message") == of(found, "message")
    assert [one["action"] for one in of(by_admin, "audit")] == [*actions, "user.export"]


async def test_only_who_may_gets_it_and_it_is_noted(office: Office) -> None:
    _, token = await office.user()
    _, stranger_token = await office.user()
    async with office.door.rest(token) as rest, office.door.rest(stranger_token) as stranger:
        session = (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        problem(await stranger.get(f"/v1/sessions/{session}/export"), 404, "not_found")
        problem(await office.admin.get(f"/v1/sessions/{session}/export"), 404, "not_found")
        problem(await rest.get("/v1/admin/users/x/export"), 403, "forbidden")
        problem(await office.admin.get("/v1/admin/users/nobody/export"), 404, "not_found")
        await lines(rest, f"/v1/sessions/{session}/export")
        query = {"object": f"session:{session}"}
        *_, entry = (await office.admin.get("/v1/admin/audit", params=query)).text.splitlines()
    assert json.loads(entry)["action"] == "session.export"
    assert json.loads(entry)["address"] == "127.0.0.1"


@pytest.mark.parametrize("how", ["member", "key", "sign-in"])
async def test_who_may_no_more_gets_no_more(office: Office, how: str) -> None:
    """The export of a large session is cut off, and the lines do not pretend to be all."""
    name, token = await office.user()
    _, owner_token = await office.user()
    async with office.door.rest(token) as rest, office.door.rest(owner_token) as owner:
        session = (await owner.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        await owner.put(f"/v1/sessions/{session}/members/{name}", json={"role": "viewer"})
        await office.sql(
            """WITH grown AS (UPDATE sessions SET last_seq = 20002 WHERE id = $1 RETURNING id)
               INSERT INTO events (session_id, seq, type, ts, data)
               SELECT id, n, 'x', now(), to_json(repeat('x', 2000)) FROM grown, generate_series(4, 20002) AS n""",
            session,
        )
        key = (await rest.post("/v1/api-keys", json={"name": "leaked"})).json()
        signed_in = await office.door.sign_in(name)
        reader = office.door.rest({"member": token, "key": key["key"], "sign-in": signed_in}[how])
        got = b""

        async def end() -> None:
            match how:
                case "member":
                    ended = await owner.delete(f"/v1/sessions/{session}/members/{name}")
                case "key":
                    ended = await rest.delete(f"/v1/api-keys/{key['id']}")
                case _:
                    ins = (await reader.get("/v1/auth/sign-ins")).json()["items"]
                    (mine,) = [one["id"] for one in ins if one["current"]]
                    ended = await rest.delete(f"/v1/auth/sign-ins/{mine}")
            assert ended.is_success, ended.text

        async def download() -> None:
            nonlocal got
            async with reader.stream("GET", f"/v1/sessions/{session}/export") as answer:
                async for chunk in answer.aiter_bytes():
                    if not got:
                        await end()
                    got += chunk

        async with reader:
            with pytest.raises(httpx2.RemoteProtocolError):
                await download()
    assert 0 < got.count(b"\n") < 20_000
    assert b'"end"' not in got


@pytest.mark.parametrize("what", ["transcript", "attachment"])
async def test_whose_key_has_ended_gets_no_more_of_what_is_large(office: Office, what: str) -> None:
    _, token = await office.user()
    async with office.door.rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "leaked"})).json()
        session = (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"]
        path = f"/v1/sessions/{session}/transcript"
        if what == "transcript":
            await office.sql(
                """INSERT INTO messages (id, session_id, seq, author_kind, author_id, author_name, text, status,
                                         created_at)
                   SELECT gen_random_uuid(), $1, n, 'user', 'x', 'x', repeat('x', 4000), 'complete', now()
                   FROM generate_series(4, 4004) AS n""",
                session,
            )
        else:
            path = f"/v1/sessions/{session}/attachments"
            kept = await rest.post(path, params={"name": "large.txt"}, content=b"x" * 10_000_000)
            path = f"{path}/{kept.json()['id']}"
        size = 0

        async def download() -> None:
            nonlocal size
            async with office.door.rest(key["key"]) as bot, bot.stream("GET", path) as answer:
                assert answer.status_code == 200
                async for chunk in answer.aiter_bytes():
                    if not size:
                        assert (await rest.delete(f"/v1/api-keys/{key['id']}")).is_success
                    size += len(chunk)

        with pytest.raises(httpx2.RemoteProtocolError):
            await download()
    assert 0 < size < 10_000_000
