"""Deadlines and the cap of the HTTP side, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from uvicorn._types import WebSocketScope

from hub.gateway.handshake import MAX_AHEAD, MAX_HEADER_BYTES, HubHttp
from hub.gateway.transport import HubWebSocket
from hub.protocol.http import BODY_TIME
from tests.gateway.server import Raw, let_in, serving

LARGE_BYTES = 16_777_216


class Impatient(HubHttp):
    headers_s = 0.3
    body_s = 0.3
    unread_s = 2.0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body and answers with its length; `/stream` answers for a second, `/large` with much more than
    buffers take, and then with the length, after a while."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/stream":
        for _ in range(10):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.1)  # the pace of the stream
    if scope["path"] == "/large":
        for _ in range(LARGE_BYTES // 65_536):
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        await asyncio.sleep(Impatient.unread_s + 0.3)  # nothing is unread meanwhile
    await send({"type": "http.response.body", "body": str(size).encode()})


class App:
    """That, and a WebSocket on which nothing happens."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    def arrive(self, request: WebSocketScope, key: bytes, peer: HubWebSocket) -> None:
        del request
        let_in(key, peer)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(App(), http=Impatient, send_buffer=None) as port:
        yield port


async def answer(client: Raw, within_s: float = 30) -> bytes:
    """All bytes until the end of the connection, which is a reset for who still sends."""
    data = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(within_s):
            while piece := await client.reader.read(65_536):
                data += piece
    return data


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_request_that_does_not_arrive_is_given_up(port: int, sent: bytes) -> None:
    client = await Raw.connect(port)
    client.send(sent)
    assert (await answer(client)).startswith(b"HTTP/1.1 408 ")
    await client.leave()


async def test_dripping_does_not_help(port: int) -> None:
    client = await Raw.connect(port)

    async def drip() -> None:
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 1_000:
            client.send(bytes([byte]))
            await asyncio.sleep(0.02)  # the pace of the attack

    async with asyncio.TaskGroup() as tasks:
        dripping = tasks.create_task(drip())
        assert (await answer(client)).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()
    await client.leave()


async def test_a_body_that_does_not_arrive_is_given_up(port: int) -> None:
    client = await Raw.connect(port)
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    await client.ended()
    await client.leave()


async def test_headers_without_end_are_refused(port: int) -> None:
    client = await Raw.connect(port)
    client.send(b"GET / HTTP/1.1\r\n")
    client.send(b"X-Header: value\r\n" * (MAX_HEADER_BYTES // 10))
    assert b"431" in await answer(client)
    await client.leave()


async def test_fields_after_a_body_are_bounded_and_not_of_the_request() -> None:
    async def names(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        told = b" ".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": told})

    async with serving(names) as port:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        client = await Raw.connect(port)
        client.send(head + b"Authorization: Bearer late\r\n\r\n")
        told = await answer(client)
        assert b"host transfer-encoding" in told
        assert b"authorization" not in told
        await client.leave()
        for line in (b"X-Late: 1\r\n", b"one-line-without-end"):
            client = await Raw.connect(port)
            with suppress(ConnectionError):
                client.send(head)
                for _ in range(64):
                    client.send(line * (MAX_HEADER_BYTES // len(line)))
                    await client.writer.drain()
                client.send(b": \r\n\r\n")
            assert b"200 OK" not in await answer(client)
            await client.leave()


@pytest.mark.parametrize("ahead", [MAX_AHEAD, MAX_AHEAD + 1])
async def test_few_requests_are_taken_ahead(port: int, ahead: int) -> None:
    client = await Raw.connect(port)
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * (ahead - 1) + last)
    told = await answer(client)
    answered = told.count(b"HTTP/1.1 200 OK")
    assert answered == MAX_AHEAD + 1 if ahead == MAX_AHEAD else answered <= 1
    assert b" 400 " not in told, "it would be taken for a part of the answer that was under way"
    await client.leave()


async def test_a_connection_that_was_used_becomes_a_websocket_but_not_amid_an_answer(port: int) -> None:
    client = await Raw.connect(port)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        await client.reader.readuntil(b"\r\n0\r\n\r\n")
    assert await client.upgrade() == 101  # proxies keep connections, and use them for all kinds of requests
    await client.leave()
    client = await Raw.connect(port)
    client.send(
        b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    told = await answer(client)
    assert b" 101 " not in told
    assert b" 400 " not in told
    await client.leave()


async def test_a_request_in_time_is_answered_and_the_next_one_too(port: int) -> None:
    client = await Raw.connect(port)
    for _ in range(2):
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        async with asyncio.timeout(30):
            assert b"200 OK" in await client.reader.readuntil(b"\r\n")
            await client.reader.readuntil(b"\r\n0\r\n\r\n")
    await client.leave()


async def test_an_answer_may_take_longer_than_the_request(port: int) -> None:
    client = await Raw.connect(port)
    client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = await answer(client)
    assert b"200 OK" in body
    assert body.count(b"\r\n.\r\n") == 10
    await client.leave()


async def test_an_answer_that_nobody_reads_is_given_up(port: int) -> None:
    reading, idle = await Raw.connect(port), await Raw.connect(port)
    for client in (reading, idle):
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(await answer(reading, 30)) > LARGE_BYTES  # it was given up, if at all, before the end of this one
    assert len(await answer(idle, 30)) < LARGE_BYTES
    for client in (reading, idle):
        await client.leave()


async def test_an_upgraded_connection_has_no_request_deadline(port: int) -> None:
    client = await Raw.open(port)
    with pytest.raises(TimeoutError):
        await client.receive(1.0)
    await client.leave()


async def test_an_app_gives_an_upload_another_deadline() -> None:
    """More than others have, or less; only as long as the body is not there."""

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        within = scope.get("extensions", {}).get(BODY_TIME, {}).get("within")
        assert (within is not None) is scope["path"].endswith("/attachments")
        if within is not None:
            within(0.1 if scope["query_string"] else 5)
        await app(scope, receive, send)

    async with serving(patient, http=Impatient) as port:
        for path, outcome in (("/attachments", b"200 OK"), ("/attachments?x", b""), ("/others", b"")):
            client = await Raw.connect(port)
            client.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na".encode())
            await asyncio.sleep(0.6)  # longer than others have
            with suppress(ConnectionError):
                client.send(b"b")
            async with asyncio.timeout(30):
                begun = b""
                with suppress(ConnectionError):
                    begun = await client.reader.read(12 + len("HTTP/1.1 "))
            assert outcome in begun, path
            assert bool(outcome) is bool(begun), path
            await client.leave()
