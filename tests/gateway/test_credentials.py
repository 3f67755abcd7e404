"""What handshakes show: origins, versions, credentials."""

from typing import Any
from urllib.parse import quote

import pytest
from uvicorn._types import WebSocketScope

from hub.domain.errors import BadRequest, Unauthenticated
from hub.gateway.credentials import Shown, origin, origin_allowed, shown_credential, subprotocol


def scope(
    *headers: tuple[str, str], query: str = "", subprotocols: tuple[str, ...] = (), scheme: str = "ws"
) -> WebSocketScope:
    made: Any = {
        "type": "websocket",
        "scheme": scheme,
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        "subprotocols": list(subprotocols),
    }
    return made  # type: ignore[no-any-return]


ALLOWED = ("https://app.example", "http://localhost:5173")


@pytest.mark.parametrize(
    ("host", "sent", "scheme"),
    [
        ("127.0.0.1:8000", None, "ws"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", "ws"),
        ("localhost:8000", "http://localhost:8000", "ws"),
        ("localhost", "http://localhost", "ws"),
        ("[::1]:8000", "http://[::1]:8000", "ws"),
        ("192.168.1.5:8000", "https://192.168.1.5:8000", "wss"),
        ("hub.example", "https://app.example", "wss"),
        ("hub.example", "https://hub.example", "wss"),
        ("127.0.0.1:8000", "http://localhost:5173", "ws"),
    ],
)
def test_origins_that_may_connect(host: str, sent: str | None, scheme: str) -> None:
    assert origin_allowed(scope(("Host", host), scheme=scheme), sent, ALLOWED)


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("127.0.0.1:8000", "null"),
        ("127.0.0.1:8000", ""),
        ("127.0.0.1:8000", "http://evil.example"),
        ("127.0.0.1:8000", "http://127.0.0.1:8001"),
        ("127.0.0.1:8000", "http://127.0.0.1"),
        ("127.0.0.1:8000", "https://127.0.0.1:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000.evil.example"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("127.0.0.1:8000", "HTTP://127.0.0.1:8000"),
        ("127.0.0.1:8000", "https://APP.example"),
        ("127.0.0.1:8000", "https://app.example.evil.example"),
        ("127.0.0.1:8000", "http://app.example"),
        ("127.0.0.1:8000", "https://app.example:443"),
        ("localhost:8000", "http://LOCALHOST:8000"),
    ],
)
def test_origins_that_may_not(host: str, sent: str) -> None:
    assert not origin_allowed(scope(("Host", host)), sent, ALLOWED)


def test_two_origins_or_two_hosts_prove_nothing() -> None:
    with pytest.raises(BadRequest):
        origin(scope(("Origin", "https://app.example"), ("Origin", "https://app.example")))
    two = scope(("Host", "127.0.0.1"), ("Host", "127.0.0.1"))
    assert not origin_allowed(two, "http://127.0.0.1", ALLOWED)


def test_the_first_way_that_is_there_wins() -> None:
    bearer = ("Authorization", "Bearer from-header")
    everything = scope(bearer, query="ticket=t", subprotocols=("hub.v1", "bearer.from-protocol"))
    assert shown_credential(everything) == Shown(token="from-header")
    assert shown_credential(scope(query="ticket=t", subprotocols=("bearer.p",))) == Shown(ticket="t")
    assert shown_credential(scope(subprotocols=("hub.v1", "bearer.p"))) == Shown(token="p")
    assert shown_credential(scope(subprotocols=("hub.v1",))) == Shown()


@pytest.mark.parametrize(
    "shown",
    [
        scope(("Authorization", "Basic abc"), query="ticket=good"),
        scope(("Authorization", "Bearer"), query="ticket=good"),
        scope(("Authorization", "Bearer a"), ("Authorization", "Bearer a")),
        scope(query="ticket=", subprotocols=("bearer.good",)),
        scope(query="ticket=a&ticket=b"),
        scope(subprotocols=("bearer.",)),
        scope(subprotocols=("bearer.a", "bearer.b")),
    ],
)
def test_a_bad_credential_is_never_skipped(shown: WebSocketScope) -> None:
    with pytest.raises(Unauthenticated):
        shown_credential(shown)


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "authorization", "Token", "tok%65n"])
def test_secrets_in_the_query_are_refused_whatever_else_is_there(name: str) -> None:
    with pytest.raises(Unauthenticated):
        shown_credential(scope(("Authorization", "Bearer good"), query=f"{name}=" + quote("a.b.c")))


def test_a_query_of_many_fields_is_refused() -> None:
    with pytest.raises(BadRequest):
        shown_credential(scope(query="&".join(f"a{i}=1" for i in range(100))))


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ((), (None, True)),
        (("hub.v1",), ("hub.v1", True)),
        (("hub.v2", "hub.v1"), ("hub.v1", True)),
        (("bearer.x",), (None, True)),
        (("chat",), (None, True)),
        (("hub.v2",), ("hub.v2", False)),
        (("hub.v2", "bearer.x"), ("hub.v2", False)),
    ],
)
def test_versions(offered: tuple[str, ...], answer: tuple[str | None, bool]) -> None:
    assert subprotocol(scope(subprotocols=offered)) == answer
