"""Coming in: every way to authenticate, and everybody who is turned away."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import running_worker, settings_for
from tests.driver import Door


async def dial(door: Door, query: str = "", **options: Any) -> ClientConnection:
    return await connect(door.ws_url + query, proxy=None, compression=None, **options)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def first(socket: ClientConnection) -> dict[str, Any]:
    """The first object the hub sends."""
    async with asyncio.timeout(30):
        frame: dict[str, Any] = json.loads(str(await socket.recv()).split("\n")[0])
    return frame


async def close_code(socket: ClientConnection) -> int:
    """How the hub closes the connection, without a word before."""
    with pytest.raises(ConnectionClosed) as closed:
        await first(socket)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def refusal(door: Door, query: str = "", **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        await dial(door, query, **options)
    return caught.value


async def ticket(door: Door, token: str, **headers: str) -> str:
    async with door.rest(token) as rest:
        made = await rest.post("/v1/auth/tickets", headers=headers)
        assert made.status_code in (200, 201), made.text
        value: str = made.json()["ticket"]
        return value


async def test_a_token_in_the_header(hub: Door) -> None:
    token = await hub.register("ada")
    async with await dial(hub, additional_headers=bearer(token), subprotocols=["hub.v1"]) as socket:
        hello = await first(socket)
        assert socket.subprotocol == "hub.v1"
    assert hello["type"] == "hello"
    assert hello["user"]["name"] == "ada"
    assert hello["node"] == "test:1:a"
    assert hello["heartbeat_s"] == 25
    assert hello["limits"] == {"frame_bytes": 65_536, "commands_per_minute": 6_000, "sessions": 100}
    assert hello["expires_at"].endswith("Z")


async def test_who_is_known_gets_the_answer_and_hello_in_one_piece(hub: Door) -> None:
    token = await hub.register("ada")
    async with await hub.enter(token):  # known now
        reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rsplit(":", 1)[1]))
        lines = [
            *("GET /v1/ws HTTP/1.1", f"Host: {hub.url[7:]}", "Upgrade: websocket", "Connection: Upgrade"),
            *(
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                f"Authorization: Bearer {token}",
            ),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(30):
            head, _, frame = (await reader.read(65_536)).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head.lower()
        assert json.loads(frame[4:])["type"] == "hello"


async def test_an_api_key_in_the_header(hub: Door) -> None:
    token = await hub.register("ada")
    async with hub.rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]
    async with await dial(hub, additional_headers=bearer(key)) as socket:
        assert (await first(socket))["user"]["name"] == "ada"
        assert socket.subprotocol is None


async def test_a_ticket_works_once(hub: Door) -> None:
    token = await hub.register("ada")
    value = await ticket(hub, token)
    async with await dial(hub, f"?ticket={value}") as socket:
        assert (await first(socket))["user"]["name"] == "ada"
    assert (await refusal(hub, f"?ticket={value}")).response.status_code == 401


async def test_a_ticket_is_bound_to_its_origin(hub: Door) -> None:
    token = await hub.register("ada")
    value = await ticket(hub, token, Origin=hub.url)
    other = hub.url.replace("127.0.0.1", "localhost")
    refused = await refusal(hub, f"?ticket={value}")
    assert refused.response.status_code == 401
    value = await ticket(hub, token, Origin=hub.url)
    assert (await refusal(hub, f"?ticket={value}", origin=other)).response.status_code in (401, 403)
    value = await ticket(hub, token, Origin=hub.url)
    async with await dial(hub, f"?ticket={value}", origin=hub.url) as socket:
        assert (await first(socket))["type"] == "hello"


async def test_a_token_as_subprotocol(hub: Door) -> None:
    token = await hub.register("ada")
    async with await dial(hub, subprotocols=["hub.v1", f"bearer.{token}"]) as socket:
        assert socket.subprotocol == "hub.v1"
        assert (await first(socket))["user"]["name"] == "ada"


async def test_a_token_in_the_first_frame_is_answered_after_hello(hub: Door) -> None:
    token = await hub.register("ada")
    async with await dial(hub) as socket:
        await socket.send(json.dumps({"id": "a1", "type": "auth", "token": token}))
        async with asyncio.timeout(30):
            lines = str(await socket.recv()).split("\n")
            while len(lines) < 2:
                lines += str(await socket.recv()).split("\n")
    hello, reply = (json.loads(line) for line in lines)
    assert hello["type"] == "hello"
    assert reply == {
        "type": "reply",
        "id": "a1",
        "ok": True,
        "result": {"user": hello["user"], "expires_at": hello["expires_at"]},
    }


async def test_a_wrong_first_frame(hub: Door) -> None:
    wrong: list[str | bytes] = [
        '{"id":"1","type":"auth","token":"wrong"}',
        '{"id":"1","type":"auth","token":"hub_00000000_wrong"}',
        '{"id":"1","type":"ping"}',
        "nonsense",
        "",
        b"\x00",
    ]
    for frame in wrong:
        async with await dial(hub) as socket:
            await socket.send(frame)
            assert await close_code(socket) == 4501, frame


async def test_no_first_frame(hub: Door) -> None:
    async with await dial(hub) as socket:
        assert await close_code(socket) == 4501


async def test_a_wrong_credential_is_a_problem_before_the_upgrade(hub: Door) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("", {"additional_headers": bearer("wrong")}),
        ("", {"additional_headers": bearer("hub_00000000_wrong")}),
        ("", {"additional_headers": {"Authorization": "Basic YTpi"}}),
        ("?ticket=wrong", {}),
        ("?ticket=", {}),
        ("", {"subprotocols": ["hub.v1", "bearer.wrong"]}),
    ]
    for query, options in wrong:
        response = (await refusal(hub, query, **options)).response
        assert response.status_code == 401, (query, options)
        assert response.headers["content-type"] == "application/problem+json"
        assert "Bearer" in response.headers["www-authenticate"]
        body = json.loads(response.body)
        assert (body["code"], body["status"]) == ("unauthenticated", 401)


async def test_a_good_token_in_the_query_is_refused(hub: Door) -> None:
    token = await hub.register("ada")
    for name in ("token", "access_token", "api_key", "key", "ticket"):
        assert (await refusal(hub, f"?{name}={token}")).response.status_code == 401, name


async def test_what_looks_like_a_token_or_key_is_refused_under_any_name(hub: Door) -> None:
    token = await hub.register("ada")
    async with hub.rest(token) as rest:
        key = (await rest.post("/v1/api-keys", json={"name": "probe"})).json()["key"]
    for query in (f"?v={token}", f"?v={key}", f"?v=1&{token}"):
        assert (await refusal(hub, query, additional_headers=bearer(token))).response.status_code == 401, query
    async with await dial(hub, "?v=hub_1&w=eyJ", additional_headers=bearer(token)) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"


async def test_a_bad_header_is_not_skipped_for_a_good_ticket(hub: Door) -> None:
    value = await ticket(hub, await hub.register("ada"))
    refused = await refusal(hub, f"?ticket={value}", additional_headers=bearer("wrong"))
    assert refused.response.status_code == 401


async def test_origins_that_are_not_allowed(hub: Door) -> None:
    token = await hub.register("ada")
    for origin in ("null", "https://evil.example", "http://127.0.0.1:1", f"{hub.url}.evil.example", hub.url.upper()):
        response = (await refusal(hub, origin=origin, additional_headers=bearer(token))).response
        assert response.status_code == 403, origin
        assert json.loads(response.body)["code"] == "forbidden"


async def test_origins_that_are_allowed(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, allowed_origins="https://app.example")
    async with running_worker(settings) as hub:
        token = await hub.register("ada")
        for origin in (hub.url, "https://app.example"):
            async with await dial(hub, origin=origin, additional_headers=bearer(token)) as socket:
                assert (await first(socket))["type"] == "hello"


async def test_a_version_the_hub_does_not_speak(hub: Door) -> None:
    token = await hub.register("ada")
    async with await dial(hub, subprotocols=["hub.v2"], additional_headers=bearer(token)) as socket:
        assert await close_code(socket) == 4510


async def test_a_full_worker_refuses_sockets_but_not_health(dsn: str, redis_url: str) -> None:
    async with running_worker(settings_for(dsn, redis_url, connections_per_worker=2)) as hub:
        token = await hub.register("ada")
        async with await hub.enter(token), await hub.enter(token):
            response = (await refusal(hub, additional_headers=bearer("not even looked at"))).response
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert json.loads(response.body)["code"] == "unavailable"
            async with hub.rest() as rest:
                assert (await rest.get("/healthz")).status_code == 200
        async with await hub.enter(token):  # there is room again
            pass


async def test_who_says_nothing_leaves_room_for_others(dsn: str, redis_url: str) -> None:
    async with running_worker(settings_for(dsn, redis_url, connections_per_worker=4)) as hub, AsyncExitStack() as stack:
        token = await hub.register("ada")
        for _ in range(4):
            with suppress(InvalidStatus):
                await stack.enter_async_context(await dial(hub))
        for _ in range(2):
            await stack.enter_async_context(await hub.enter(token))


async def test_nobody_has_all_the_connections(dsn: str, redis_url: str) -> None:
    settings = settings_for(dsn, redis_url, connections_per_user=1, connections_per_organisation=2)
    async with running_worker(settings) as hub, running_worker(settings, "test:2:b") as other:
        ada, bob, cyd = [await hub.register(name) for name in ("ada", "bob", "cyd")]
        async with hub.rest(cyd) as rest:
            key = (await rest.post("/v1/api-keys", json={"name": "bot"})).json()["key"]

        async def again(door: Door, token: str) -> None:
            while True:
                with suppress(InvalidStatus, ConnectionClosed):
                    async with await dial(door, additional_headers=bearer(token)) as socket:
                        assert (await first(socket))["type"] == "hello"
                        return

        async with await hub.enter(ada):
            response = (await refusal(hub, additional_headers=bearer(ada))).response
            assert response.status_code == 429
            assert int(response.headers["retry-after"]) > 0
            told = json.loads(response.body)
            assert (told["code"], told["details"]) == ("rate_limited", {"limit": 1})
            async with await dial(hub) as socket:
                await socket.send(json.dumps({"id": "1", "type": "auth", "token": ada}))
                assert await close_code(socket) == 4101
            # What another worker has is known when the upgrade is on its way.
            async with await dial(other, additional_headers=bearer(ada)) as socket:
                assert await close_code(socket) == 4101
            async with await hub.enter(bob):
                full = "too many connections of your organisation: some have to be closed first"
                async with await dial(other, f"?ticket={await ticket(other, cyd)}") as socket:
                    assert (await close_code(socket), socket.close_reason) == (4101, full)
                async with await dial(other, additional_headers=bearer(key)) as socket:
                    assert (await close_code(socket), socket.close_reason) == (4101, full)
            async with other.rest() as rest:
                told = (await rest.get("/metrics")).text
            assert 'hub_places_refused_total{node="test:2:b",what="connections",whose="organisation"} 2.0' in told
            assert 'hub_places_refused_total{node="test:2:b",what="connections",whose="user"} 1.0' in told
            await asyncio.wait_for(again(other, cyd), 30)
        await asyncio.wait_for(again(other, ada), 30)  # its share is free again when it has ended


async def test_other_paths_are_not_served(hub: Door) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(hub.ws_url + "/other", proxy=None)
    assert caught.value.response.status_code == 404
    assert json.loads(caught.value.response.body)["code"] == "not_found"
