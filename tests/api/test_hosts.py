"""What a request says about where it goes to and where it comes from, and how little of it is believed."""

import asyncio
import time

import pytest
from websockets.exceptions import InvalidStatus

from tests.api.people import fresh, problem
from tests.conftest import running_worker, settings_for
from tests.driver import DEADLINE_S, PASSWORD, Door


async def status(hub: Door, path: str, *lines: str) -> int:
    """The status of a request written by hand."""
    host, _, port = hub.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode("latin-1"))
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host: a.example", "Host: b.example"),
        ("Host: a.example/evil",),
        ("Host: user@a.example",),
        ("Host: a.example b.example",),
        ("Host: ",),
        ("Host: a.example:port",),
        ("Host: a.example:999999",),
        ("Host: \xe4.example",),
        ("Host: a.example#x",),
        ("Host: [::1",),
    ],
)
async def test_a_malformed_host_is_refused(hub: Door, lines: tuple[str, ...]) -> None:
    assert await status(hub, "/docs/start.js", *lines) == 400
    assert await status(hub, "/healthz", *lines) in (200, 400)  # the parser refuses some before anybody sees them


@pytest.mark.parametrize("host", ["a.example", "A.Example:8000", "a.example.", "[::1]:8000", "127.0.0.1"])
async def test_any_other_host_will_do_unless_there_is_a_list(hub: Door, host: str) -> None:
    assert await status(hub, "/docs/start.js", f"Host: {host}") == 200


@pytest.mark.parametrize("registration", ["here", "open"])
async def test_registration_that_nobody_has_opened_is_for_pages_of_this_machine(
    registration: str, dsn: str, redis_url: str
) -> None:
    """A page whose name is pointed here after it was loaded must not let itself in."""
    settings = settings_for(dsn, redis_url, allowed_origins="https://app.example", registration=registration)
    async with running_worker(settings) as hub, hub.rest() as rest:
        good = hub.url, "http://localhost:8000", "http://[::1]:8000", "https://app.example"
        bad = "http://rebound.example:8000", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "null"
        for origin in (None, *good, *bad):
            body = {"name": fresh("user"), "password": PASSWORD}
            headers = {"Origin": origin} if origin is not None else {}
            made = await rest.post("/v1/auth/register", json=body, headers=headers)
            is_allowed = registration == "open" or origin not in bad
            assert made.status_code == (201 if is_allowed else 403), (origin, made.text)


async def test_a_hub_with_a_list_goes_by_these_names_only(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, allowed_hosts="hub.example,*.hub.example")
    async with running_worker(settings) as hub:
        for host in ("hub.example", "HUB.example:443", "eu.hub.example", "a.b.hub.example."):
            assert await status(hub, "/docs/start.js", f"Host: {host}") == 200, host
        for host in ("evil.example", "hub.example.evil", "evilhub.example", "127.0.0.1", ".hub.example.x"):
            assert await status(hub, "/docs/start.js", f"Host: {host}") == 400, host
        assert await status(hub, "/readyz", "Host: 10.0.0.7:8000") == 200  # a probe knows the address only
        async with hub.rest() as rest:
            problem(await rest.get("/v1/teams"), 400, "bad_request")
        with pytest.raises(InvalidStatus) as refused:
            await hub.enter("whatever")
        assert refused.value.response.status_code == 400


FORGED = ["203.0.113.9", "10.0.0.1, 203.0.113.7", "::1", "unknown", "127.0.0.1", "", "a" * 300, "1.2.3.4:99", "\xff"]


async def test_who_forges_where_it_comes_from_is_counted_where_it_is(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, address_requests_per_minute=1, address_request_burst=len(FORGED))
    async with running_worker(settings) as hub:
        host, statuses, began = hub.url.removeprefix("http://"), [], time.monotonic()
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"):
            statuses += [await status(hub, "/docs/start.js", f"Host: {host}", f"{name}: {value}") for value in FORGED]
        comes_back = (time.monotonic() - began) / 60  # on a machine that stands still
        assert len(FORGED) <= statuses.count(200) <= len(FORGED) + comes_back
        assert statuses.count(200) + statuses.count(429) == len(statuses)


async def test_a_trusted_proxy_is_believed(dsn: str, redis_url: str) -> None:
    settings = settings_for(
        dsn, redis_url, trusted_proxies="127.0.0.1", address_requests_per_minute=1, address_request_burst=1
    )
    async with running_worker(settings) as hub:
        host, began = f"Host: {hub.url.removeprefix('http://')}", time.monotonic()
        assert await status(hub, "/docs/start.js", host, "X-Forwarded-For: 203.0.113.1") == 200
        assert await status(hub, "/docs/start.js", host, "X-Forwarded-For: 203.0.113.2") == 200
        # What the client itself has written stands to the left of what the proxy has added.
        again = await status(hub, "/docs/start.js", host, "X-Forwarded-For: 198.51.100.5, 203.0.113.2")
        assert again == 429 or time.monotonic() - began >= 60


async def test_an_ipv6_network_counts_as_one(dsn: str, redis_url: str) -> None:
    settings = settings_for(
        dsn, redis_url, trusted_proxies="127.0.0.1", address_requests_per_minute=1, address_request_burst=1
    )
    async with running_worker(settings) as hub:
        host, began = f"Host: {hub.url.removeprefix('http://')}", time.monotonic()
        forwarded = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1", "::ffff:192.0.2.1", "192.0.2.1")
        got = [await status(hub, "/docs/start.js", host, f"X-Forwarded-For: {address}") for address in forwarded]
        assert got == [200, 429, 200, 200, 429] or time.monotonic() - began >= 60
