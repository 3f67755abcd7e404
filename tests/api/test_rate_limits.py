"""How often somebody may ask: over REST and WebSocket, at all workers, per user, key, address, and without Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.api.people import fresh, open_session, problem, somebody
from tests.conftest import running_worker, settings_for
from tests.driver import DEADLINE_S, PASSWORD, Door, Person, Refused

SLOW = 1  # a minute: in a test nothing comes back


class Limited:
    """Two workers of a hub whose users may ask ten times at once, their keys five times."""

    def __init__(self, doors: list[Door]) -> None:
        self.doors = doors

    async def somebody(self) -> str:
        return await self.doors[0].register(fresh("user"))

    async def ask(self, token: str, times: int, *, settle: bool = False) -> list[httpx2.Response]:
        """So often, at the workers in turn; `settle` gives what a worker has counted the time to reach the other."""
        answers = []
        for number in range(times):
            async with self.doors[number % 2].rest(token) as rest:
                answers.append(await rest.get("/v1/me"))
            if settle:
                await asyncio.sleep(0.02)  # how long a client thinks
        return answers


LIMITS: dict[str, Any] = {
    "user_requests_per_minute": SLOW,
    "user_request_burst": 10,
    "key_requests_per_minute": SLOW,
    "key_request_burst": 5,
    "costly_requests_per_minute": SLOW,
    "costly_request_burst": 2,
}


@pytest.fixture
async def limited(dsn: str, redis_url: str) -> AsyncIterator[Limited]:
    settings = settings_for(dsn, redis_url, **LIMITS)
    async with running_worker(settings, "test:1:a") as one, running_worker(settings, "test:2:b") as two:
        yield Limited([one, two])


async def test_a_user_has_one_allowance_at_all_workers_over_rest_and_websocket(limited: Limited) -> None:
    token, other = await limited.somebody(), await limited.somebody()
    answers = await limited.ask(token, 7, settle=True)
    assert [answer.status_code for answer in answers] == [200] * 7
    remaining = [int(answer.headers["ratelimit-remaining"]) for answer in answers]
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] in (3, 4)  # what the other worker has counted since is not known yet
    assert answers[0].headers["ratelimit-limit"] == "10"
    assert answers[0].headers["ratelimit-policy"] == f"{SLOW};w=60;burst=10"
    assert 300 < int(answers[-1].headers["ratelimit-reset"]) <= 420

    async with await limited.doors[1].enter(token) as person:
        with pytest.raises(Refused) as refused:
            await _ping(person, 3 + len(limited.doors))
        assert refused.value.code == "rate_limited"
        assert 0 < refused.value.error["retry_after"] <= 60
    # Each worker learns of the others' by its own next request.
    for answer in (await limited.ask(token, 4, settle=True))[2:]:
        problem(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit-remaining"] == "0"
    assert [answer.status_code for answer in await limited.ask(other, 2)] == [200, 200]


async def _ping(person: Person, times: int) -> None:
    for _ in range(times):
        await person.ask("ping")


async def test_a_key_has_less_than_its_user(limited: Limited) -> None:
    token = await limited.somebody()
    async with limited.doors[0].rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]
    statuses = [answer.status_code for answer in await limited.ask(key, 12, settle=True)]
    allowed = statuses.count(200)
    assert 5 <= allowed < 5 + len(limited.doors)
    assert statuses == [200] * allowed + [429] * (12 - allowed)
    # What the key was refused was not taken from its user: one was for the making of the key.
    assert (await limited.ask(token, 1))[0].status_code == 200


async def test_what_costs_much_is_counted_apart(limited: Limited) -> None:
    async with limited.doors[0].rest(await limited.somebody()) as rest:
        session = await open_session(rest)
        path = f"/v1/sessions/{session}/transcript"
        assert [(await rest.get(path)).status_code for _ in range(3)] == [200, 200, 429]
        for other in ("/v1/search?q=x", f"/v1/sessions/{session}/export", "/v1/me/export"):
            assert (await rest.get(other)).status_code == 429
        assert (await rest.get(f"/v1/sessions/{session}")).status_code == 200


async def test_an_address_is_refused_before_anything_is_looked_at(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, address_requests_per_minute=SLOW, address_request_burst=8)
    async with running_worker(settings) as hub, hub.rest() as rest:
        answers = [await rest.get("/v1/teams") for _ in range(9)]
        assert [answer.status_code for answer in answers] == [401] * 8 + [429]
        problem(answers[-1], 429, "rate_limited")
        assert answers[-1].headers["content-security-policy"]
        with pytest.raises(InvalidStatus) as refused:
            await hub.enter("no-token")
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"]
        for probe in ("/healthz", "/readyz", "/metrics"):
            assert (await rest.get(probe)).status_code == 200
            assert "ratelimit-limit" not in (await rest.get(probe)).headers


async def test_refused_hosts_and_preflights_count_for_their_address(dsn: str, redis_url: str) -> None:
    page = "https://page.example"
    ask = {"Origin": page, "Access-Control-Request-Method": "GET"}
    settings = settings_for(
        dsn,
        redis_url,
        address_requests_per_minute=SLOW,
        address_request_burst=6,
        allowed_origins=page,
        allowed_hosts="127.0.0.1",
    )
    async with running_worker(settings) as hub, hub.rest() as rest:
        for _ in range(2):
            problem(await rest.get("/v1/teams", headers={"Host": "evil.example"}), 400, "bad_request")
            assert (await rest.request("OPTIONS", "/v1/teams", headers=ask)).status_code == 200
            with pytest.raises(InvalidStatus) as refused:  # a socket from a page that is not allowed
                await connect(hub.ws_url, origin=Origin("https://evil.example"), proxy=None)
            assert refused.value.response.status_code == 403
        for headers in ({"Host": "evil.example"}, {}):
            problem(await rest.get("/v1/teams", headers=headers), 429, "rate_limited")
        preflight = await rest.request("OPTIONS", "/v1/teams", headers=ask)
        assert (preflight.status_code, preflight.headers["ratelimit-remaining"]) == (429, "0")
        told = await rest.get("/v1/teams", headers={"Origin": page})  # which the page can read
        problem(told, 429, "rate_limited")
        assert told.headers["access-control-allow-origin"] == page
        with pytest.raises(InvalidStatus) as refused:
            await connect(hub.ws_url, origin=Origin("https://evil.example"), proxy=None)
        assert refused.value.response.status_code == 429


async def test_all_workers_together_take_so_many_sign_ins(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, sign_ins_per_minute=SLOW, sign_in_burst=3)
    async with running_worker(settings, "test:1:a") as one, running_worker(settings, "test:2:b") as two:
        name, other = fresh("ann"), fresh("bob")
        for person in (name, other):
            async with one.rest() as rest:
                made = await rest.post("/v1/auth/register", json={"name": person, "password": PASSWORD})
                assert made.status_code == 201

        async def sign_in(door: Door, person: str, password: str) -> httpx2.Response:
            async with door.rest() as rest:
                form = {"grant_type": "password", "username": person, "password": password}
                return await rest.post("/v1/auth/token", data=form)

        tokens = (await sign_in(one, name, PASSWORD)).json()
        for door, person in ((two, name), (one, fresh("nobody"))):
            problem(await sign_in(door, person, "wrong" + PASSWORD), 401, "unauthenticated")
        # Whoever it is, whether there is such a name or not, and at whichever worker: the same words.
        refused = [await sign_in(door, who, PASSWORD) for door in (one, two) for who in (other, fresh("nobody"))]
        assert {problem(answer, 429, "rate_limited")["detail"] for answer in refused} == {"too many attempts"}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        async with two.rest() as rest:  # who is signed in stays so
            form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            assert (await rest.post("/v1/auth/token", data=form)).status_code == 200


async def test_without_redis_each_worker_holds_the_limit_alone(dsn: str, redis_url: str) -> None:
    async with running_worker(settings_for(dsn, redis_url)) as office:
        token = await office.register(fresh("ann"))  # for which Redis is needed
    async with (
        running_worker(settings_for(dsn, "unix:///nowhere/valkey.sock", **LIMITS)) as hub,
        hub.rest(token) as rest,
    ):
        answers = [await rest.get("/v1/me") for _ in range(11)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429]


async def test_who_waits_as_told_is_let_in(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, user_requests_per_minute=240, user_request_burst=3)
    async with running_worker(settings) as hub, hub.rest(await hub.register(fresh("ann"))) as rest:
        while (answer := await rest.get("/v1/me")).status_code == 200:
            pass
        body = problem(answer, 429, "rate_limited")
        until = time.monotonic() + DEADLINE_S
        while answer.status_code == 429:
            assert time.monotonic() < until
            await asyncio.sleep(body["retry_after"])  # as told
            answer = await rest.get("/v1/me")
            body = answer.json()
        assert answer.status_code == 200


WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database()
    WHERE NOT granted AND relation = 'messages'::regclass
"""


async def test_searches_leave_connections_for_everybody_else(hub: Door, hub_dsn: str) -> None:
    database = await asyncpg.connect(hub_dsn)
    async with somebody(hub) as rest, somebody(hub) as other:
        most = 0
        async with database.transaction():
            await database.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")  # every search takes long now
            searches = [asyncio.create_task(rest.get("/v1/search", params={"q": "x"})) for _ in range(20)]
            async with asyncio.timeout(DEADLINE_S):
                while not most and not all(search.done() for search in searches):
                    most = await database.fetchval(WAITING)
            for _ in range(20):
                assert (await other.get("/v1/organisations")).status_code == 200  # reads no message
                most = max(most, await database.fetchval(WAITING))
        assert most <= 4, "of twelve connections"
        assert {search.status_code for search in await asyncio.gather(*searches)} <= {200, 503}
        more = await asyncio.gather(*(rest.get("/v1/search", params={"q": "x"}) for _ in range(20)))
        assert {search.status_code for search in more} == {200}, "who comes then waits for a turn"
    await database.close()
