"""What a read asks of the hub: round trips to PostgreSQL, and nothing of FastAPI or a thread."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import asyncpg.connection
import fastapi.dependencies.utils
import pytest
import structlog

from tests.api.people import open_session, somebody
from tests.driver import Door

ROUND_TRIPS = {
    "/v1/me": 1,
    "/v1/teams": 1,
    "/v1/sessions?limit=50": 4,
    "/v1/sessions/{session}": 4,
    "/v1/sessions/{session}/members": 5,
    "/v1/sessions/{session}/events?limit=100": 5,
    "/v1/sessions/{session}/transcript": 5,
    "/v1/sessions/{session}/inputs": 5,
}
"""At most, with the question who asks."""

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
    assert {path: counts["statements"] for path, counts in asked.items()} == ROUND_TRIPS
    assert not sum(counts["threads"] + counts["solved by FastAPI"] for counts in asked.values())


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
