"""The asynchronous client of an Agent Hub: commands as awaitables, events as an iterator; it resumes by itself.

async with connect("http://127.0.0.1:8000", name="anna", password="…") as hub:
    opened = await hub.create_session("duo")
    session = await hub.join(opened.id, after_seq=0)
    await session.send("Hello, you two.")
    async for event in session.events():
        ...
"""

from collections.abc import Callable

from hub_client.client import Hub
from hub_client.credentials import Credential, FixedToken, SignIn
from hub_client.errors import (
    ConnectionLost,
    HubClientError,
    NoAnswer,
    NotSignedIn,
    RequestFailed,
    Stopped,
    Unreachable,
)
from hub_client.link import State, Status
from hub_client.rest import Rest, Tokens
from hub_client.session import Session
from hub_client.socket import rest_url

__all__ = [
    "ConnectionLost",
    "Credential",
    "FixedToken",
    "Hub",
    "HubClientError",
    "NoAnswer",
    "NotSignedIn",
    "RequestFailed",
    "Rest",
    "Session",
    "SignIn",
    "State",
    "Status",
    "Stopped",
    "Tokens",
    "Unreachable",
    "connect",
]


def connect(
    url: str,
    *,
    token: str | None = None,
    api_key: str | None = None,
    name: str | None = None,
    password: str | None = None,
    patience_s: float = 10.0,
    on_status: Callable[[Status], None] | None = None,
) -> Hub:
    """A hub to be entered with `async with`: by access token, by API key, or by name and password.

    Raises `ValueError` for an address that is none and unless exactly one way to sign in is given.
    """
    by_name = (name, password) if name is not None and password is not None else None
    if sum(way is not None for way in (token, api_key, by_name)) != 1:
        raise ValueError("give a token, an api_key, or a name and a password")
    if by_name is None:
        return Hub(url, FixedToken(token or api_key or ""), patience_s=patience_s, on_status=on_status)
    rest = Rest(rest_url(url))
    sign_in = SignIn(rest, name=name, password=password)
    rest.use(sign_in.token)
    return Hub(url, sign_in, rest=rest, patience_s=patience_s, on_status=on_status)
