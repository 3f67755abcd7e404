"""What a WebSocket handshake shows: where it comes from, which protocol it speaks, with which credential."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from uvicorn._types import WebSocketScope

from hub.auth.header import bearer_token
from hub.domain.errors import BadRequest, Unauthenticated
from hub.protocol import PROTOCOL

_BEARER = "bearer."
_TICKET = "ticket"
# Secrets that live longer than a ticket do not belong into a URL, where logs and proxies keep them.
_SECRETS = frozenset({"token", "access_token", "api_key", "apikey", "key", "authorization", "auth", "jwt", "bearer"})
# What looks like one of them is one, whatever it is called: `hub_<id>_<secret>`, or a JWT, which begins with `{"`.
_SECRET = re.compile(r"hub_[^_]+_.+|eyJ[\w-]*\.[\w-]+\.[\w-]*", re.DOTALL)
_MAX_FIELDS = 32


@dataclass(frozen=True, slots=True)
class Shown:
    """The credential of a handshake: at most one of both is set; neither: the first frame brings it."""

    token: str | None = None
    ticket: str | None = None


def shown_credential(scope: WebSocketScope) -> Shown:
    """The first credential of protocol §2 that is there. Raises `Unauthenticated` for one that cannot be used."""
    query = _query(scope)
    if any(name.lower() in _SECRETS or _SECRET.fullmatch(value or name) for name, value in query):
        raise Unauthenticated("tokens and API keys do not belong into a URL: use a header, a ticket or a first frame")
    token = bearer_token(_headers(scope, b"authorization"))
    if token is not None:
        return Shown(token=token)
    tickets = [value for name, value in query if name == _TICKET]
    if tickets:
        if len(tickets) > 1 or not tickets[0]:
            raise Unauthenticated("exactly one ticket is needed")
        return Shown(ticket=tickets[0])
    offered = [p.removeprefix(_BEARER) for p in scope["subprotocols"] if p.startswith(_BEARER)]
    if offered:
        if len(offered) > 1 or not offered[0]:
            raise Unauthenticated("exactly one bearer subprotocol is needed")
        return Shown(token=offered[0])
    return Shown()


def origin(scope: WebSocketScope) -> str | None:
    """The Origin header; None when there is none. Raises `BadRequest` for several."""
    values = _headers(scope, b"origin")
    if len(values) > 1:
        raise BadRequest("more than one Origin header")
    return values[0] if values else None


def origin_allowed(scope: WebSocketScope, origin: str | None, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may connect. Programs send no Origin; pages always do.

    Allowed are the origins that are listed, and the hub's own: the one in the Host header. Whoever points a name of
    theirs here (DNS rebinding) gains nothing by that: no credential comes by itself, as a cookie would.
    """
    if origin is None or origin in allowed:
        return True
    hosts = _headers(scope, b"host")
    if len(hosts) != 1:
        return False
    scheme = "https" if scope["scheme"] == "wss" else "http"
    return origin == f"{scheme}://{hosts[0]}"


def subprotocol(scope: WebSocketScope) -> tuple[str | None, bool]:
    """The subprotocol to answer with, and whether this hub speaks what the client asks for.

    A client that names no version at all gets the present one. One that names other versions only gets an answer that
    its library accepts, so that the close code can reach it.
    """
    versions = [p for p in scope["subprotocols"] if p.startswith("hub.")]
    if PROTOCOL in versions:
        return PROTOCOL, True
    return (versions[0], False) if versions else (None, True)


def _query(scope: WebSocketScope) -> list[tuple[str, str]]:
    if not scope["query_string"]:
        return []
    text = scope["query_string"].decode("ascii", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as e:
        raise BadRequest("the query string has too many fields") from e


def _headers(scope: WebSocketScope, name: bytes) -> list[str]:
    """The names in a scope are in lower case, as ASGI has it."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
