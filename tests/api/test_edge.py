"""What holds for every request: problems, limits, headers, ids, cross-origin rules, health."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from hub.api.body import MAX_BODY_BYTES, BodyLimit
from hub.api.boundary import RequestBoundary, RequestIds
from hub.api.deadline import RequestDeadline
from tests.api.conftest import ALLOWED_ORIGIN
from tests.api.people import open_session, problem, somebody
from tests.driver import Door


async def test_an_address_that_does_not_exist(hub: Door) -> None:
    async with hub.rest() as rest:
        for method in ("GET", "POST", "DELETE"):
            problem(await rest.request(method, "/v1/nothing"), 404, "not_found")
        problem(await rest.get("/../../etc/passwd"), 404, "not_found")


async def test_a_websocket_that_comes_without_its_upgrade_is_told_what_is_missing(hub: Door) -> None:
    async with hub.rest() as rest:
        answer = await rest.get("/v1/ws", params={"ticket": "x"})
    assert "Upgrade" in problem(answer, 426, "bad_request")["detail"]
    assert answer.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/me", {"GET", "DELETE"}),
        ("DELETE", "/v1/auth/token", {"POST"}),
        ("PATCH", "/v1/sessions", {"GET", "POST"}),
        ("TRACE", "/v1/sessions/x", {"GET", "PATCH", "DELETE"}),
        ("POST", "/healthz", {"GET"}),
        ("POST", "/docs/assets/swagger-ui.css", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_does_not_exist(hub: Door, method: str, path: str, allowed: set[str]) -> None:
    async with hub.rest() as rest:
        answer = await rest.request(method, path)
        problem(answer, 405, "bad_request")
        assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"team": NaN}',
        b'{"team": "scripted", "metadata": {"a": NaN}}',
        b'{"team": "scripted", "metadata": {"a": 1e999}}',
        b'{"team": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"team": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 30_000,
    ],
    ids=range(13),
)
async def test_a_body_that_is_not_what_it_should_be(hub: Door, content: bytes) -> None:
    async with somebody(hub) as rest:
        answer = await rest.post("/v1/sessions", content=content, headers={"Content-Type": "application/json"})
        problem(answer, 400, "bad_request")
        assert (await rest.get("/v1/me")).status_code == 200


async def test_a_body_of_another_type(hub: Door) -> None:
    async with somebody(hub) as rest:
        for type_ in ("text/plain", "application/xml", "nonsense"):
            answer = await rest.post("/v1/sessions", content=b'{"team":"scripted"}', headers={"Content-Type": type_})
            problem(answer, 400, "bad_request")


async def test_numbers_times_and_flags_are_not_taken_for_each_other(hub: Door) -> None:
    soon = round(time.time()) + 3600
    async with somebody(hub) as rest:
        for moment in (soon, str(soon)):
            answer = await rest.post("/v1/api-keys", json={"name": "bot", "expires_at": moment})
            problem(answer, 400, "bad_request")
            problem(await rest.get("/v1/me/usage", params={"until": moment}), 400, "bad_request")
        for flag in (0, "no"):
            problem(await rest.post("/v1/auth/signout-all", json={"api_keys": flag}), 400, "bad_request")
        budgets = f"/v1/sessions/{await open_session(rest)}/budgets"
        for limit, status in ((False, 400), ("5", 400), (5, 200), (0.5, 200)):
            set_ = await rest.put(budgets, json={"scope": "run", "quantity": "cost", "limit": limit})
            assert set_.status_code == status, set_.text
        assert (await rest.get("/v1/me/usage", params={"until": "2026-01-31T12:00:00Z"})).status_code == 200


async def test_what_was_sent_does_not_come_back(hub: Door) -> None:
    async with somebody(hub) as rest:
        answer = await rest.post("/v1/sessions", json={"team": "scripted", "title": ["a-secret-of-mine"]})
        told = problem(answer, 400, "bad_request")
        assert told["details"]["faults"][0]["where"] == ["body", "title"]
        assert "a-secret-of-mine" not in answer.text


# ---- bounds


async def test_a_body_over_the_limit(hub: Door) -> None:
    async with somebody(hub) as rest:
        big = json.dumps({"team": "x" * MAX_BODY_BYTES}).encode()
        told = problem(await rest.post("/v1/sessions", content=big), 413, "too_large")
        assert told["details"] == {"max_bytes": MAX_BODY_BYTES}

        async def in_chunks() -> AsyncGenerator[bytes]:
            for _ in range(80):
                yield b" " * 8192

        problem(await rest.post("/v1/sessions", content=in_chunks()), 413, "too_large")
        fits = b" " * (MAX_BODY_BYTES - 30) + b'{"team":"scripted"}'
        headers = {"Content-Type": "application/json"}
        assert (await rest.post("/v1/sessions", content=fits, headers=headers)).status_code == 201


async def test_what_is_refused_on_the_way_has_the_headers_of_every_answer(hub: Door) -> None:
    async with hub.rest() as rest:
        body = b" " * (MAX_BODY_BYTES + 1)
        answer = await rest.post("/v1/sessions", content=body, headers={"Origin": ALLOWED_ORIGIN})
        problem(answer, 413, "too_large")
        assert answer.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
        assert answer.headers["ratelimit-remaining"]
        assert answer.headers["content-security-policy"]
        assert answer.headers.get_list("x-request-id") == [answer.json()["request"]]
        other = await rest.get("/v1/me", headers={"Host": "no/host"})
        problem(other, 400, "bad_request")
        assert other.headers["content-security-policy"]


async def _unread(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("must not get here")


def _post() -> Scope:
    return {"type": "http", "method": "POST", "headers": [], "path": "/"}


async def _answer(app: RequestBoundary, receive: Receive) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await RequestIds(app)(_post(), receive, send)
    return sent


async def test_a_body_that_drips() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent = await _answer(RequestBoundary(BodyLimit(_unread, timeout_s=0.05)), receive)
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["code"] == "bad_request"


async def test_a_caller_who_hangs_up_in_the_middle() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    assert await _answer(RequestBoundary(BodyLimit(_unread)), receive) == []


async def test_large_bodies_that_do_not_end_hold_only_so_much_together() -> None:
    let_go, held = asyncio.Event(), 0

    def sending(size: int, *, ends: bool) -> Receive:
        begun = False

        async def receive() -> Message:
            nonlocal begun, held
            if not begun:
                begun = True
                return {"type": "http.request", "body": bytes(size), "more_body": True}
            if ends:
                return {"type": "http.request", "body": b"", "more_body": False}
            held += 1
            await let_go.wait()
            return {"type": "http.disconnect"}

        return receive

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        size = len((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [], "size": size})

    app = RequestBoundary(BodyLimit(told, max_waiting=100_000))
    two = [asyncio.create_task(_answer(app, sending(65_536, ends=False))) for _ in range(2)]
    while held < 2:  # noqa: ASYNC110 - as soon as both have begun
        await asyncio.sleep(0)
    assert (await _answer(app, sending(65_536, ends=True)))[0]["status"] == 503
    assert (await _answer(app, sending(16_000, ends=True)))[0]["size"] == 16_000
    let_go.set()
    assert await asyncio.gather(*two) == [[], []]
    assert (await _answer(app, sending(65_536, ends=True)))[0]["size"] == 65_536


async def test_an_unexpected_fault_tells_nothing_but_an_id() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("/home/secret/path")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = await _answer(RequestBoundary(broken), receive)
    assert sent[0]["status"] == 500
    told = json.loads(sent[1]["body"])
    assert told["code"] == "internal"
    assert told["details"] == {"correlation_id": dict(sent[0]["headers"])[b"x-request-id"].decode()}
    assert "secret" not in sent[1]["body"].decode()


async def test_a_fault_after_the_beginning_of_the_answer_is_not_a_second_answer() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert len(await _answer(RequestBoundary(broken), receive)) == 1


async def test_a_request_that_is_not_answered_in_time() -> None:
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    sent = await _answer(RequestBoundary(RequestDeadline(endless, answer_s=0.05)), _nothing)
    assert sent[0]["status"] == 503
    told = json.loads(sent[1]["body"])
    assert (told["code"], told["retryable"]) == ("unavailable", True)
    assert ended.is_set()


async def test_an_answer_that_has_begun_may_take_its_time() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"whole"})

    sent = await _answer(RequestBoundary(RequestDeadline(slow, answer_s=0.05)), _nothing)
    assert [message.get("body") for message in sent] == [None, b"whole"]


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


# ---- headers


async def test_security_headers_are_everywhere(hub: Door) -> None:
    async with hub.rest() as rest:
        for path in ("/healthz", "/v1/me", "/nothing", "/docs", "/openapi.json"):
            headers = (await rest.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe-inline" not in headers["content-security-policy"].split("style-src")[0]
            assert "unsafe-eval" not in headers["content-security-policy"]


async def test_request_ids(hub: Door) -> None:
    async with hub.rest() as rest:
        given = await rest.get("/v1/me", headers={"X-Request-ID": "trace-1.a_b"})
        assert given.headers["x-request-id"] == given.json()["request"] == "trace-1.a_b"
        for bad in ("", "a b", "x" * 65, '"><script>', "é"):
            answer = await rest.get("/v1/me", headers={b"X-Request-ID": bad.encode()})
            assert answer.headers["x-request-id"] not in ("", bad)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", ALLOWED_ORIGIN + ".evil.example", "http://allowed.example"]
)
async def test_pages_of_other_origins_get_nothing(hub: Door, origin: str) -> None:
    async with hub.rest() as rest:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (
            await rest.get("/healthz", headers={"Origin": origin}),
            await rest.options("/v1/sessions", headers=asked),
        ):
            assert "access-control-allow-origin" not in answer.headers


async def test_pages_of_allowed_origins_may_call(hub: Door) -> None:
    async with hub.rest() as rest:
        answer = await rest.get("/healthz", headers={"Origin": ALLOWED_ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
        assert "access-control-allow-credentials" not in answer.headers
        asked = {
            "Origin": ALLOWED_ORIGIN,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization, idempotency-key",
        }
        assert (await rest.options("/v1/sessions/x", headers=asked)).status_code == 200


# ---- operation


async def test_health(hub: Door) -> None:
    async with hub.rest() as rest:
        assert (await rest.get("/healthz")).json() == {"status": "ok"}
        ready = (await rest.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert ready["checks"]["postgresql"] == "ok"
        metrics = await rest.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "# HELP" in metrics.text


async def test_the_hub_tells_its_own_times(hub: Door) -> None:
    async with await hub.person() as ada, hub.rest() as rest:
        before = counted((await rest.get("/metrics")).text)
        session = (await ada.ask("session.create", team="scripted"))["id"]
        await ada.ask("session.join", session=session, after_seq=0)
        await ada.say(session, "/script turns=1 tokens=80 rate=200")
        await ada.until("run.finished")
        after = counted((await rest.get("/metrics")).text)
        text = (await rest.get("/metrics")).text
    assert re.search(r"hub_database_wait_seconds_count\{[^}]*\} [1-9]", text)
    assert re.search(r"hub_event_loop_late_seconds_count\{[^}]*\} [1-9]", text)
    assert after["hub_ack_seconds"] == before["hub_ack_seconds"] + 1
    assert 2 <= after["hub_engine_to_socket_seconds"] - before["hub_engine_to_socket_seconds"] <= 5


def counted(metrics: str) -> dict[str, int]:
    """How much each histogram has counted: seconds, of which there were few."""
    found: dict[str, int] = {}
    for name in ("hub_ack_seconds", "hub_engine_to_socket_seconds"):
        by_bound = dict(re.findall(name + r'_bucket\{le="([^"]+)",node="[^"]+"\} (\S+)', metrics))
        assert float(by_bound["2.5"]) > 0 or float(by_bound["+Inf"]) == 0
        found[name] = int(float(by_bound["+Inf"]))
    return found


async def test_many_at_once(hub: Door) -> None:
    async with somebody(hub) as rest:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(open_session(rest)) for _ in range(20)]
        assert len({task.result() for task in made}) == 20


async def test_half_a_request_disturbs_nobody(hub: Door) -> None:
    address = urlsplit(hub.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /v1/auth/register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    async with hub.rest() as rest:
        assert (await rest.get("/healthz")).status_code == 200
    writer.close()
    await writer.wait_closed()


async def test_the_server_does_not_introduce_itself(hub: Door) -> None:
    async with httpx2.AsyncClient(base_url=hub.url) as rest:
        assert "server" not in (await rest.get("/healthz")).headers
