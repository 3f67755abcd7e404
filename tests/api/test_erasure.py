"""Nothing is left of an erased person but an id: not in PostgreSQL, not in Redis, not in what a worker holds; and what
others said stays where it was."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest
import redis.asyncio

from hub.domain.organisation import FIRST_ORGANISATION
from tests.api.people import fresh, open_session, problem
from tests.conftest import Cluster, own_valkey, running_worker, settings_for
from tests.driver import PASSWORD, Door, Frame, seqs

PROMISED_S = 5.0
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"


@dataclass(frozen=True)
class Office:
    doors: tuple[Door, Door]
    dsn: str
    redis_url: str
    admin: httpx2.AsyncClient

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def until_erased(self, user: str) -> None:
        async with asyncio.timeout(90):
            query = "SELECT FROM users WHERE id = $1 AND erasure_ended_at IS NOT NULL"
            while not await self.sql(query, user):  # noqa: ASYNC110 - there is nothing to be told by
                await asyncio.sleep(0.05)

    async def until_organisation_erased(self, org: str) -> None:
        async with asyncio.timeout(90):
            query = "SELECT FROM organisations WHERE id = $1 AND erasure_ended_at IS NOT NULL"
            while not await self.sql(query, org):  # noqa: ASYNC110 - there is nothing to be told by
                await asyncio.sleep(0.05)

    async def where(self, word: str) -> list[str]:
        """Every table and key that holds the word."""
        found = []
        for (table,) in await self.sql(TABLES):
            count = (await self.sql(f"SELECT count(*) FROM {table} t WHERE strpos(t::text, $1) > 0", word))[0][0]
            found += [table] * bool(count)
        client = redis.asyncio.Redis.from_url(self.redis_url)
        await client.config_set("rdbcompression", "no")  # a packed value has other bytes between those of the word
        async for key in client.scan_iter():
            kept = await client.dump(key)
            if word.encode() in key + (kept or b""):
                found.append(key.decode())
        await client.aclose()
        return found


@pytest.fixture(scope="module")
async def office(cluster: Cluster) -> AsyncIterator[Office]:
    dsn = await cluster.clone()
    with own_valkey() as redis_url:
        settings = settings_for(dsn, redis_url)
        async with running_worker(settings, "test:1:a") as one, running_worker(settings, "test:2:b") as two:
            token = await one.register(name := fresh("admin"))
            async with one.rest(token) as admin:
                office = Office((one, two), dsn, redis_url, admin)
                await office.sql("UPDATE users SET is_admin = true WHERE name = $1", name)
                yield office
    await cluster.drop(dsn)


async def erase(rest: httpx2.AsyncClient, **body: str) -> httpx2.Response:
    return await rest.request("DELETE", "/v1/me", json=body)


async def test_nothing_is_left_of_who_was_erased_and_what_others_said_stays(office: Office) -> None:
    one, two = office.doors
    word = f"canary{uuid.uuid4().hex}"
    name, other_name = f"n-{word}", fresh("other")
    token, other_token = await one.register(name), await two.register(other_name)
    async with (
        one.rest(token) as rest,
        two.rest(other_token) as other,
        await one.enter(token) as person,
        await two.enter(other_token) as witness,
    ):
        me = (await rest.get("/v1/me")).json()["id"]
        await rest.post("/v1/api-keys", json={"name": word})
        alone = await open_session(rest, title=word, metadata={"about": word})
        shared = await open_session(other, team="scripted-tools")
        left, echoing = await open_session(other), await open_session(other)
        for session in (shared, left, echoing):
            await other.put(f"/v1/sessions/{session}/members/{name}", json={"role": "editor"})
        await rest.put(f"/v1/sessions/{alone}/members/{other_name}", json={"role": "viewer"})
        for session in (alone, shared, left, echoing):
            await person.ask("session.join", session=session)
        joined = {
            session: (await witness.ask("session.join", session=session))["last_seq"]
            for session in (alone, shared, echoing)
        }

        # Said, echoed by agents, asked, answered, named in events, copied into a fork, said where they have left.
        for session in (alone, left, echoing):
            await person.say(session, f"{word} said", client_id=f"{word[:40]}-{session[:8]}")
            await person.expect("run.finished")
        await rest.delete(f"/v1/sessions/{left}/members/{name}")
        await witness.say(echoing, "others' words")
        await witness.expect("run.finished")
        last = (await other.get(f"/v1/sessions/{echoing}")).json()["last_seq"]
        fork = (await other.post(f"/v1/sessions/{echoing}/fork", json={"at_seq": last})).json()["id"]
        for speaker, question in ((person, word), (witness, "plain")):
            await speaker.say(shared, f"/script tool=ask_person key={question}")
            asked = await speaker.expect("input.requested", prompt=question)
            await person.ask("input.respond", session=shared, request=asked["data"]["request"], text=f"{word}-answer")
            await speaker.expect("run.finished")
        await person.say(shared, f"/script tool=ask_person key={word}-open")  # waits for an answer
        await person.expect("input.requested", prompt=f"{word}-open")
        run = (await person.say(echoing, "/script turns=1 tokens=50 stall_at=5"))["run"]  # is being written
        while (frame := await person.next_frame())["type"] != "message.delta" or frame["run"] != run:
            pass
        planted = await office.where(word)
        for table in ("users", "api_keys", "sessions", "events", "messages", "input_requests", "checkpoints"):
            assert table in planted, planted
        assert any(place.startswith("hub:") for place in planted), planted

        problem(await erase(rest, password="wrong" + PASSWORD), 403, "forbidden")
        problem(await rest.request("DELETE", "/v1/me", json={}), 403, "forbidden")
        answer = await erase(rest, password=PASSWORD)
        assert (answer.status_code, answer.json()) == (202, {"user": me})
        acknowledged = time.monotonic()
        assert await person.closed() == 4503
        assert time.monotonic() - acknowledged < PROMISED_S
        problem(await rest.get("/v1/me"), 401, "unauthenticated")
        await office.until_erased(me)
        until = time.monotonic() + PROMISED_S  # presence is told that they are away
        while (places := await office.where(word)) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert not places
        text_keys = await redis_keys(office, f"hub:{{{echoing}}}:text:*")
        assert not text_keys, "what was being written is still in Redis"

        # The session that nobody else owns is gone for everybody.
        def told() -> set[str]:
            return {f["session"] for f in witness.seen if f["type"] == "member.removed" and f["data"]["user"] == me}

        while not {shared, echoing} <= told():  # until then their rooms remember
            await witness.next_frame("member.removed")
        problem(await other.get(f"/v1/sessions/{alone}"), 404, "not_found")
        assert not await office.sql("SELECT FROM sessions WHERE id = $1", alone)
        # Everywhere else the log has no hole, and its followers were told.
        for session in (shared, left, echoing, fork):
            log = (await other.get(f"/v1/sessions/{session}/events?limit=1000")).json()
            assert [event["seq"] for event in log["items"]] == list(range(1, log["last_seq"] + 1))
        redacted = [f for f in witness.seen if f["type"] == "message.redacted" and f["session"] == echoing]
        redacted += [await witness.expect("message.redacted", reason="erased")] if not redacted else []
        assert redacted[0]["data"]["by"] == {"id": "hub", "name": "hub"}
        said = (await other.get(f"/v1/sessions/{echoing}/transcript")).json()["messages"]
        assert [message["text"] for message in said][:1] == ["others' words"]
        assert {message["author"].get("name") for message in said if message["author"]["kind"] == "user"} == {
            other_name
        }
        # What a worker holds: somebody who comes now, in the room that was there all the time.
        async with await two.enter(other_token) as late:
            for session, after in (*joined.items(), (fork, 0)):
                if session == alone:
                    continue
                await late.ask("session.join", session=session, after_seq=after)
                end = (await other.get(f"/v1/sessions/{session}")).json()["last_seq"]
                frames: list[Frame] = []
                while not frames or frames[-1].get("seq", 0) < end:
                    frames.append(await late.next_frame())
                assert seqs(frames) == list(range(after + 1, end + 1))
                assert word not in json.dumps(frames)
            # And the team: it is told what is left.
            await late.say(echoing, "/script turns=1 history")
            knows = (await late.expect("message.completed"))["data"]["text"]
            assert word[:15] not in knows
        # The name is free, and the trail knows what was done, without a name or an address.
        assert await one.register(name)
        trail = [json.loads(line) for line in (
            await office.admin.get("/v1/admin/audit", params={"object": f"user:{me}", "limit": 1000})
        ).text.splitlines()]  # fmt: skip
        assert [entry["action"] for entry in trail][-2:] == ["user.erase", "user.erased"]
        assert {entry["address"] for entry in trail} == {None}


async def redis_keys(office: Office, pattern: str) -> list[bytes]:
    client = redis.asyncio.Redis.from_url(office.redis_url)
    found = [key async for key in client.scan_iter(match=pattern.replace("{", "\\{"))]
    await client.aclose()
    return found


async def test_administrators_erase_others_and_nobody_else_does(office: Office) -> None:
    one, _ = office.doors
    name = fresh("gone")
    token = await one.register(name)
    async with one.rest(token) as rest:
        me = (await rest.get("/v1/me")).json()["id"]
        key = (await rest.post("/v1/api-keys", json={"name": "bot", "scopes": ["sessions:read"]})).json()["key"]
        problem(await rest.request("DELETE", f"/v1/admin/users/{me}"), 403, "forbidden")
        async with one.rest(key) as bot:
            problem(await erase(bot, password=PASSWORD), 403, "forbidden")
    own = (await office.admin.get("/v1/me")).json()["id"]
    problem(await office.admin.delete(f"/v1/admin/users/{own}"), 409, "conflict")
    assert (await office.admin.delete(f"/v1/admin/users/{name}")).json() == {"user": me}
    await office.until_erased(me)
    problem(await office.admin.delete(f"/v1/admin/users/{me}"), 404, "not_found")
    assert await office.where(name) == []


async def test_what_a_worker_was_lost_with_is_taken_up_by_another(office: Office) -> None:
    """Somebody who was buried, and of whom nobody has taken care since."""
    one, _ = office.doors
    name = fresh("forgotten")
    token = await one.register(name)
    async with one.rest(token) as rest:
        me = (await rest.get("/v1/me")).json()["id"]
        session = await open_session(rest, title=f"of {name}")
    buried = "erased_at = now() - interval '1 minute', name = 'erased', name_key = id::text"
    await office.sql(f"UPDATE users SET {buried} WHERE id = $1", me)
    await office.until_erased(me)
    assert not await office.sql("SELECT FROM sessions WHERE id = $1", session)
    assert await office.where(name) == []


async def test_rows_that_cannot_be_read_hold_up_nobody_else(office: Office) -> None:
    one, _ = office.doors
    tokens = {name: await one.register(name) for name in (fresh("poisoned"), fresh("well"))}
    (poisoned, well), owner_token = list(tokens), await one.register(fresh("owner"))
    async with one.rest(owner_token) as owner:
        session = await open_session(owner)
        await owner.put(f"/v1/sessions/{session}/members/{poisoned}", json={"role": "editor"})
        async with await one.enter(tokens[poisoned]) as person:
            await person.ask("session.join", session=session)
            run = (await person.say(session, "/script turns=1 tokens=1"))["run"]
            last = (await person.expect("run.finished"))["seq"]
        row = """WITH grown AS (UPDATE sessions SET last_seq = $2 WHERE id = $1)
            INSERT INTO events (session_id, seq, type, run_id, ts, data)
            VALUES ($1, $2, 'tool.returned', $3, now(), '{"call":"no id"}')"""
        await office.sql(row, session, last + 1, run)
        ids = [(await office.admin.delete(f"/v1/admin/users/{name}")).json()["user"] for name in (poisoned, well)]
        await office.until_erased(ids[1])
        assert not await office.sql("SELECT FROM users WHERE id = $1 AND erasure_ended_at IS NOT NULL", ids[0])
        await office.sql("DELETE FROM events WHERE session_id = $1 AND seq = $2", session, last + 1)
        await office.until_erased(ids[0])


async def test_an_address_can_be_taken_out_of_the_trail_and_nothing_else_changed(office: Office) -> None:
    (entry,) = await office.sql("SELECT id, address FROM audit WHERE address IS NOT NULL ORDER BY id DESC LIMIT 1")
    for change in ("address = 'x'", "address = NULL, action = 'x'", "action = 'x'", "actor = NULL, address = NULL"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await office.sql(f"UPDATE audit SET {change} WHERE id = $1", entry["id"])
    await office.sql("UPDATE audit SET address = NULL WHERE id = $1", entry["id"])
    assert (await office.sql("SELECT address FROM audit WHERE id = $1", entry["id"]))[0]["address"] is None


async def test_nothing_is_left_of_an_erased_organisation_and_its_people_keep_their_accounts(office: Office) -> None:
    one, two = office.doors
    word = f"canary{uuid.uuid4().hex}"
    ann_name, bob_name = fresh("ann"), fresh("bob")
    async with (
        await one.person(ann_name) as ann,
        await two.person(bob_name) as bob,
        one.rest(ann.token) as anns,
        two.rest(bob.token) as bobs,
    ):
        gone, lost = [
            (await office.admin.post("/v1/organisations", json={"name": name})).json()["id"]
            for name in (f"o-{word}", fresh("lost"))
        ]
        for org in (gone, lost):
            for name in (ann_name, bob_name):
                put = await office.admin.put(f"/v1/organisations/{org}/members/{name}", json={"role": "admin"})
                assert put.status_code == 200, put.text
        assert (await office.sql("SELECT count(*) FROM organisation_members WHERE org_id = $1", gone))[0][0] == 3
        await office.sql("UPDATE users SET home_org_id = $1 WHERE name = $2", gone, ann_name)
        budget = {"quantity": "tokens", "limit": 1_000_000}
        await office.admin.put(f"/v1/admin/organisations/{gone}/budgets", json=budget)
        team = {"name": fresh("team"), "description": word, "kind": "round_robin", "agents": [{"name": "solo"}]}
        made = await office.admin.post(f"/v1/teams?organisation={gone}", content=json.dumps(team))
        assert made.status_code == 201, made.text
        theirs, deleted = [await open_session(anns, organisation=gone, title=word) for _ in range(2)]
        left_behind, elsewhere = [await open_session(anns, organisation=org) for org in (lost, FIRST_ORGANISATION)]
        for session in (theirs, left_behind):
            await anns.put(f"/v1/sessions/{session}/members/{bob_name}", json={"role": "editor"})
            await bob.ask("session.join", session=session)
        for session in (theirs, deleted):
            await ann.ask("session.join", session=session)
            await ann.say(session, word)
            await ann.expect("run.finished")
        await anns.delete(f"/v1/sessions/{deleted}")
        await ann.say(theirs, "/script turns=1 tokens=50 stall_at=5")  # goes on until it is ended
        assert {"organisations", "sessions", "messages", "teams"} <= set(await office.where(word))
        assert {"usage", "budgets"} <= set(await office.where(gone))
        # Somebody was about to erase this one, and was lost.
        lost_at = "now() - interval '10 s'"
        await office.sql(f"UPDATE organisations SET guests = false, erased_at = {lost_at} WHERE id = $1", lost)

        about = f"/v1/admin/organisations/{gone}"
        problem(await anns.delete(about), 403, "forbidden")
        problem(await office.admin.delete(f"/v1/admin/organisations/{FIRST_ORGANISATION}"), 409, "conflict")
        answer = await office.admin.delete(f"/v1/admin/organisations/o-{word}")
        assert (answer.status_code, answer.json()) == (202, {"organisation": gone})
        problem(await anns.get(f"/v1/sessions/{theirs}"), 404, "not_found")
        removed: set[str] = set()
        while removed != {theirs, left_behind}:
            removed.add((await bob.until("member.removed"))[-1]["session"])
        ended = [f["data"]["reason"] for f in bob.seen if f["type"] == "run.finished" and f["session"] == theirs]
        assert ended[-1] == "organisation erased"
        await office.until_organisation_erased(gone)
        await office.until_organisation_erased(lost)
        until = time.monotonic() + PROMISED_S  # presence is told that they are away
        while (places := await office.where(word)) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert not places
        assert set(await office.where(gone)) == {"organisations", "audit"}
        actions = await office.sql("SELECT action FROM audit WHERE object = $1 ORDER BY id", f"organisation:{gone}")
        assert [row[0] for row in actions if "erase" in row[0]] == ["organisation.erase", "organisation.erased"]

        # The people are who they were, at home elsewhere; the name is free.
        assert (await bobs.get("/v1/me")).status_code == 200
        (home,) = (await anns.get("/v1/organisations")).json()["items"]
        assert (home["id"], home["home"]) == (FIRST_ORGANISATION, True)
        assert (await anns.get(f"/v1/sessions/{elsewhere}")).status_code == 200
        refused = await anns.post("/v1/sessions", json={"team": "scripted", "organisation": gone})
        problem(refused, 403, "forbidden")
        for name in (gone, f"o-{word}", f"erased:{gone}"):
            problem(await office.admin.delete(f"/v1/admin/organisations/{name}"), 404, "not_found")
        again = await office.admin.post("/v1/organisations", json={"name": f"o-{word}"})
        assert again.status_code == 201
