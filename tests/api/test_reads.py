"""What a read asks of the hub: round trips to PostgreSQL, and nothing of FastAPI or a thread."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import asyncpg
import asyncpg.connection
import fastapi.dependencies.utils
import pytest
import structlog

from hub.api.reads import ASKED_AGAIN
from hub.domain.ids import new_id
from tests.api.people import open_session, somebody
from tests.driver import Door

ROUND_TRIPS = {
    "/v1/me": 1,
    "/v1/teams": 1,
    "/v1/sessions?limit=50": 1,
    "/v1/sessions/{session}": 1,
    "/v1/sessions/{session}/members": 1,
    "/v1/sessions/{session}/events?limit=100": 1,
    "/v1/sessions/{session}/transcript": 1,
    "/v1/sessions/{session}/inputs": 1,
    "/v1/sessions/{session}/usage": 1,
}
"""With the question who asks, if that was not asked a moment ago."""

COUNTED = {
    (asyncpg.connection.__file__, "_check_open"): "statements",  # once for each, and it never waits
    (fastapi.dependencies.utils.__file__, "solve_dependencies"): "solved by FastAPI",
    (sys.modules["asyncio.base_events"].__file__, "run_in_executor"): "threads",
}


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Counts calls for the requests of this process's hub, by what their tasks know of their request."""
    counts: Counter[str] = Counter()

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and (what := COUNTED.get((code.co_filename, code.co_name))) and _is_counted():
            counts[what] += 1

    sys.setprofile(look)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def _is_counted() -> bool:
    return structlog.contextvars.get_contextvars().get("request_id") == "counted"


async def test_a_read_asks_little(hub: Door) -> None:
    async with somebody(hub) as rest:
        session = await open_session(rest)
        asked = {}
        for path in ROUND_TRIPS:
            address = path.replace("{session}", session)
            assert (await rest.get(address)).status_code == 200  # statements are prepared once
            with counting() as counts:
                answer = await rest.get(address, headers={"X-Request-ID": "counted"})
            assert answer.status_code == 200
            asked[path] = counts
    beyond = {path: counts["statements"] - ROUND_TRIPS[path] for path, counts in asked.items()}
    # Who it is was asked with the statement before, unless the machine is so slow that this is no moment ago.
    assert all(more in (0, 1) for more in beyond.values()), beyond
    assert not sum(counts["threads"] + counts["solved by FastAPI"] for counts in asked.values())


async def test_what_has_ended_reads_nothing_more_though_nobody_was_told(hub: Door, hub_dsn: str) -> None:
    """However lately the hub has asked who it is: here the database alone knows of the end."""
    ends = {
        "signed out everywhere": "UPDATE users SET auth_version = auth_version + 1 WHERE id = $1",
        "suspended": "UPDATE users SET disabled_at = now() WHERE id = $1",
        "sign-in ended": "UPDATE refresh_tokens SET revoked_at = now() WHERE user_id = $1",
        "key revoked": "UPDATE api_keys SET revoked_at = now() WHERE user_id = $1",
    }
    database = await asyncpg.connect(hub_dsn)
    for how, end in ends.items():
        async with somebody(hub) as rest:
            me = (await rest.get("/v1/me")).json()["id"]
            things = {"session": await open_session(rest), "call": new_id()}
            sent = await rest.post(f"/v1/sessions/{things['session']}/messages", json={"text": "hello"})
            things["run"] = sent.json()["run"]
            if how == "key revoked":
                key = await rest.post("/v1/api-keys", json={"name": "a key", "scopes": ["sessions:read", "admin"]})
                rest.headers["Authorization"] = f"Bearer {key.json()['key']}"
            paths = [_address(pattern, things) for pattern in ASKED_AGAIN]
            before = {path: (await rest.get(path)).status_code for path in paths}
            assert set(before.values()) == {200, 404}  # there is no such call
            async with database.transaction():
                await database.execute("SELECT set_config('app.org', '*', true)")
                await database.execute(end, me)
            after = {path: (await rest.get(path)).status_code for path in paths}
            assert set(after.values()) == {401}, (how, after)
    await database.close()


def _address(pattern: str, things: dict[str, str]) -> str:
    id_ = things["run"] if pattern.startswith("/v1/runs") else things["session"]
    path = pattern.replace("{id}", id_).replace("{call}", things["call"])
    return f"{path}?q=hello" if path == "/v1/search" else path


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/sessions?limit=0", 400),
        ("/v1/sessions?limit=ten", 400),
        ("/v1/sessions?cursor=%2F", 400),
        ("/v1/sessions/{session}/events?after_seq=-1", 400),
        ("/v1/sessions/{session}/events?after_seq=99", 400),
        ("/v1/sessions/{session}/transcript?format=pdf", 400),
        ("/v1/sessions/{session}/", 307),
        ("/v1/sessions//events", 404),
        ("/v1/sessions/nothing", 404),
        ("/v1/teams/schema.json", 200),
        ("/v1/teams/scripted", 403),
        ("/v1/nothing", 404),
    ],
)
async def test_a_read_is_refused_like_everything_else(hub: Door, path: str, status: int) -> None:
    async with somebody(hub) as rest:
        answer = await rest.get(path.replace("{session}", await open_session(rest)))
        assert answer.status_code == status, answer.text
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "ratelimit-remaining" in answer.headers
