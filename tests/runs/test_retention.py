"""What has had its time is removed, in batches, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.conftest import Cluster, running_worker, settings_for
from tests.driver import Door

TABLES = ("events", "messages", "runs", "checkpoints", "members", "participations")


@pytest.fixture
async def sweeping(cluster: Cluster, redis_url: str) -> AsyncIterator[tuple[Door, str]]:
    """A hub that sweeps all the time, and its database."""
    dsn = await cluster.clone()
    settings = settings_for(dsn, redis_url, sweep_s=0.2, keep_deleted_s=3600, keep_sessions_s=3600, keep_addresses_s=60)
    async with running_worker(settings) as door:
        yield door, dsn
    await cluster.drop(dsn)


async def test_an_organisation_may_keep_its_sessions_for_a_shorter_time(sweeping: tuple[Door, str]) -> None:
    door, dsn = sweeping
    database = await asyncpg.connect(dsn)
    async with await door.person("ann") as ann, door.rest(ann.token) as rest:
        await database.execute("UPDATE users SET is_admin = true")
        org = (await rest.post("/v1/organisations", json={"name": "brief"})).json()["id"]
        refused = await rest.put(f"/v1/organisations/{org}/keep", json={"sessions_s": 59, "deleted_s": None})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
        kept = await rest.put(f"/v1/organisations/{org}/keep", json={"sessions_s": 120, "deleted_s": 240})
        assert kept.json()["keep"] == {"sessions_s": 120, "deleted_s": 240}
        await rest.put("/v1/organisations/brief/keep", json={"sessions_s": 120, "deleted_s": 60})
        theirs, gone, others, stays = [
            (await rest.post("/v1/sessions", json={"team": "scripted", **place})).json()["id"]
            for place in ({"organisation": org}, {"organisation": org}, {}, {})
        ]
        for session in (gone, stays):
            await rest.delete(f"/v1/sessions/{session}")
        await ann.ask("session.join", session=theirs)
        old = "now() - interval '5 minutes'"
        await database.execute(f"UPDATE sessions SET deleted_at = {old} WHERE deleted_at IS NOT NULL")
        await database.execute(f"UPDATE sessions SET updated_at = {old}, created_at = {old}")
        await ann.expect("member.removed")
        async with asyncio.timeout(90):
            while await database.fetchval("SELECT true FROM sessions WHERE id = $1", gone):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await rest.get(f"/v1/sessions/{theirs}")).status_code == 404
        assert (await rest.get(f"/v1/sessions/{others}")).status_code == 200
        assert await database.fetchval("SELECT true FROM sessions WHERE id = $1", stays)
        about = f"organisation:{org}"
        trail = await database.fetch(
            "SELECT detail FROM audit WHERE object = $1 AND action = 'organisation.keep'", about
        )
        assert len(trail) == 2
        # Taken back: as long as the hub.
        back = await rest.put(f"/v1/organisations/{org}/keep", json={"sessions_s": None, "deleted_s": None})
        assert back.json()["keep"] == {"sessions_s": None, "deleted_s": None}
    await database.close()


async def test_what_has_had_its_time_is_removed_and_nothing_else(sweeping: tuple[Door, str]) -> None:
    door, dsn = sweeping
    database = await asyncpg.connect(dsn)

    async def count(table: str, condition: str, *values: Any) -> int:
        return int(await database.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}", *values))

    async with await door.person("ann") as ann, door.rest(ann.token) as rest:
        # What an organisation would keep for longer than the hub does is not kept for longer.
        await database.execute("UPDATE organisations SET keep_sessions_s = 1000000000, keep_deleted_s = 1000000000")
        gone, fresh, unused, used = [
            (await rest.post("/v1/sessions", json={"team": "scripted"})).json()["id"] for _ in range(4)
        ]
        for session in (gone, unused, used):
            await ann.ask("session.join", session=session)
            await ann.say(session, "hello")
            await ann.expect("run.finished")
        for session in (gone, fresh):
            await rest.delete(f"/v1/sessions/{session}")
        await rest.post(f"/v1/sessions/{used}/invites", json={"role": "viewer"})
        await rest.post(f"/v1/sessions/{used}/invites", json={"role": "editor"})
        old_key, key = [(await rest.post("/v1/api-keys", json={"name": n})).json()["id"] for n in ("old", "new")]
        await door.sign_in("ann")
        # More than a batch.
        await database.execute(
            """INSERT INTO events (session_id, seq, type, ts, data)
               SELECT $1, n, 'x', now(), '{}' FROM generate_series(1000, 3500) AS n""",
            gone,
        )
        tokens = await count("refresh_tokens", "true")
        await database.execute(
            "UPDATE refresh_tokens SET expires_at = now() - interval '2 days' "
            "WHERE id = (SELECT id FROM refresh_tokens ORDER BY created_at LIMIT 1)"
        )
        await database.execute("UPDATE invites SET expires_at = now() - interval '1 minute' WHERE role = 'viewer'")
        await database.execute("UPDATE api_keys SET revoked_at = now() - interval '31 days' WHERE id = $1", old_key)
        await database.execute("SET session_replication_role = replica")
        await database.execute("UPDATE audit SET at = now() - interval '2 minutes' WHERE action = 'user.create'")
        await database.execute("SET session_replication_role = DEFAULT")
        await database.execute("UPDATE sessions SET deleted_at = now() - interval '2 hours' WHERE id = $1", gone)
        # Last: an unused session is closed, and removed when that, too, is long enough ago.
        old = "updated_at = now() - interval '2 hours', created_at = now() - interval '2 hours'"
        await database.execute(f"UPDATE sessions SET {old} WHERE id = $1", unused)
        await ann.expect("member.removed")
        async with asyncio.timeout(90):
            while await count("sessions", "id = $1", gone) or await count("api_keys", "id = $1", old_key):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with asyncio.timeout(90):
            while await count("audit", "action = 'user.create' AND address IS NOT NULL"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for table in TABLES:
            assert not await count(table, "session_id = $1", gone), table
            assert table == "members" or await count(table, "session_id = $1", used), table
        assert await count("sessions", "id = $1 AND deleted_at IS NOT NULL", fresh) == 1
        assert await count("sessions", "id = $1 AND deleted_at IS NOT NULL", unused) == 1
        assert await count("events", "session_id = $1", unused) > 0
        assert (await rest.get(f"/v1/sessions/{unused}")).status_code == 404
        assert (await rest.get(f"/v1/sessions/{used}")).status_code == 200
        assert await count("refresh_tokens", "true") == tokens - 1
        assert await count("invites", "true") == 1
        assert await count("api_keys", "id = $1", key) == 1
        assert await count("audit", "action = 'key.create' AND address IS NOT NULL")
        about = f"session:{unused}"
        assert await count("audit", "object = $1 AND actor IS NULL AND action = 'session.delete'", about) == 1
        metrics = (await rest.get("/metrics")).text
        assert 'hub_sessions_purged_total{node="test:1:a"} 1.0' in metrics
    await database.close()
