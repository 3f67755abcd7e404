"""Requests for a WebSocket: what is judged here is judged as the library would, and the rest by the library."""

import pytest
from uvicorn._types import WebSocketScope
from websockets.server import ServerProtocol
from websockets.utils import accept_key as library_key

from hub.gateway import upgrade
from hub.gateway.proxies import Proxies
from hub.gateway.upgrade import NoUpgrade, accept_key, refusal, switching

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
PLAIN = {
    b"host": b"localhost",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}
BAD: list[tuple[bytes, bytes, dict[bytes, bytes], int]] = [
    (b"POST", b"/", {}, 405),
    (b"GET", b"/" + b"x" * 9_000, {}, 414),
    (b"GET", b"/\xff", {}, 400),
    (b"GET", b"/", {b"x-long": b"x" * 9_000}, 431),
    (b"GET", b"/", {b"x-%d" % n: b"" for n in range(200)}, 431),
    (b"GET", b"/", {b"connection": b"close"}, 426),
    (b"GET", b"/", {b"upgrade": b"h2c"}, 426),
    (b"GET", b"/", {b"sec-websocket-key": b"short"}, 400),
    (b"GET", b"/", {b"sec-websocket-key": KEY[:-4] + b"!!=="}, 400),
    (b"GET", b"/", {b"sec-websocket-version": b"12"}, 400),
    (b"GET", b"/", {b"sec-websocket-protocol": b"hub.v1;"}, 400),
    (b"GET", b"/", {b"content-length": b"5"}, 400),
    (b"GET", b"/", {b"transfer-encoding": b"chunked"}, 400),
]


def library_answer(method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """What the library says to the request itself."""
    library = ServerProtocol()
    lines = [b"%b %b HTTP/1.1" % (method, url), *(b"%b: %b" % header for header in headers), b"", b""]
    library.receive_data(b"\r\n".join(lines))
    for request in library.events_received():
        library.send_response(library.accept(request))  # type: ignore[arg-type]
    return b"".join(library.data_to_send())


@pytest.mark.parametrize("extra", [{}, {b"connection": b"keep-alive, Upgrade"}, {b"upgrade": b"WebSocket"}])
@pytest.mark.parametrize("protocols", [None, b"hub.v1", b"hub.v1, bearer.a-b_c.d", b"a,b"])
def test_plain_requests_need_no_library(
    extra: dict[bytes, bytes], protocols: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(upgrade, "ServerProtocol")
    fields = {**PLAIN, **extra, **({b"sec-websocket-protocol": protocols} if protocols is not None else {})}
    assert accept_key(b"GET", b"/v1/ws?ticket=t", list(fields.items())) == library_key(KEY.decode()).encode()


@pytest.mark.parametrize("connection", [b"Upgrade, HTTP2-Settings", b"foo,upgrade"])
def test_unusual_requests_that_are_right_are_taken(connection: bytes) -> None:
    fields = {**PLAIN, b"connection": connection, b"content-length": b"0"}
    assert accept_key(b"GET", b"/", list(fields.items())) == library_key(KEY.decode()).encode()


@pytest.mark.parametrize(("method", "url", "extra", "status"), BAD)
def test_what_is_wrong_is_answered_as_the_library_does(
    method: bytes, url: bytes, extra: dict[bytes, bytes], status: int
) -> None:
    headers = list({**PLAIN, **extra}.items())
    with pytest.raises(NoUpgrade) as refused:
        accept_key(method, url, headers)
    head, _, body = refused.value.answer.partition(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status
    if answer := library_answer(method, url, headers):
        assert body == answer.partition(b"\r\n\r\n")[2]
    else:
        assert b"cannot be read" in body


@pytest.mark.parametrize("name", [b"origin", b"sec-websocket-key", b"sec-websocket-version", b"upgrade"])
def test_what_there_must_be_one_of_is_not_there_twice(name: bytes) -> None:
    twice = [*PLAIN.items(), (name, b"x"), (name, b"x")]
    with pytest.raises(NoUpgrade):
        accept_key(b"GET", b"/", twice)


def test_answers_are_what_they_were() -> None:
    assert switching(b"KEY=", "hub.v1", [(b"date", b"now")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: KEY=\r\ndate: now\r\nSec-WebSocket-Protocol: hub.v1\r\n\r\n"
    )
    head, _, body = refusal(401, {"Content-Type": "text/x", "WWW-Authenticate": "Bearer"}, b"no").partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert (first, body) == ("HTTP/1.1 401 Unauthorized", b"no")
    assert {"Content-Type: text/x", "WWW-Authenticate: Bearer", "Connection: close", "Content-Length: 2"} < set(fields)


def test_a_trusted_proxy_says_who_is_behind_it_and_no_other() -> None:
    def behind(address: str, *trusted: str) -> tuple[object, str]:
        headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
        request: WebSocketScope = {"type": "websocket", "client": (address, 1), "scheme": "ws", "headers": headers}  # type: ignore[typeddict-item]
        Proxies(trusted).look_behind(request)
        return request["client"], request["scheme"]

    assert behind("10.0.0.1", "10.0.0.0/8") == (("203.0.113.7", 0), "wss")
    assert behind("192.0.2.1", "10.0.0.0/8") == (("192.0.2.1", 1), "ws")
    assert behind("10.0.0.1") == (("10.0.0.1", 1), "ws")
