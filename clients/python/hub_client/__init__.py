"""The asynchronous client of an Agent Hub: commands as awaitables, events as an iterator; it resumes by itself.

async with connect("http://127.0.0.1:8000", name="anna", password="…") as hub:
    opened = await hub.create_session("duo")
    session = await hub.join(opened.id, after_seq=0)
    await session.send("Hello, you two.")
    async for event in session.events():
        ...
"""

from hub_client.agents import Agents, Decline, Turn
from hub_client.bot import Bot
from hub_client.client import Hub, connect
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

__all__ = [
    "Agents",
    "Bot",
    "ConnectionLost",
    "Credential",
    "Decline",
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
    "Turn",
    "Unreachable",
    "connect",
]
