"""API keys of the caller."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, Body, Cursor, Limit, Moment, Page
from hub.protocol.frames import timestamp
from hub.protocol.pieces import Wire
from hub.protocol.text import Name
from hub.store.api_keys import StoredApiKey


class KeyBody(Body):
    """Without `scopes`: everything but the account itself. Without `expires_at`: 90 days; at most 366."""

    name: Annotated[Name, Field(json_schema_extra={"pattern": NO_NUL})]
    scopes: (
        Annotated[
            list[Literal["sessions:read", "sessions:write", "runs:control", "agents:serve", "admin"]],
            Field(min_length=1, max_length=8),
        ]
        | None
    ) = None
    expires_at: Moment | None = None


class KeyAnswer(Wire):
    """A fresh key; `key` is never shown again."""

    id: str
    name: str
    key: str
    scopes: list[str]
    created_at: str
    expires_at: str


class KeyItem(Wire):
    id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


async def create(body: KeyBody, caller: Caller, wired: Wired, address: Address, response: Response) -> KeyAnswer:
    """Make an API key for a bot. The answer holds the only copy of it."""
    response.headers["cache-control"] = "no-store"
    made = await wired.api_keys.create(
        caller, name=body.name, scopes=body.scopes, expires_at=body.expires_at, address=address
    )
    return KeyAnswer(
        id=made.id,
        name=made.name,
        key=made.key,
        scopes=list(made.scopes),
        created_at=timestamp(made.created_at),
        expires_at=timestamp(made.expires_at),
    )


async def page(caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None) -> Page[KeyItem]:
    """The caller's keys, without their secrets."""
    keys, following = await wired.api_keys.page(caller, limit=limit, cursor=cursor)
    return Page(items=[key_item(key) for key in keys], next=following)


async def revoke(
    key: Annotated[str, Path(alias="id", description="The key's id.")], caller: Caller, wired: Wired, address: Address
) -> None:
    """End a key, and every connection that was opened with it."""
    await wired.api_keys.revoke(caller, key, address=address)


def key_item(key: StoredApiKey) -> KeyItem:
    """A key as it stands in lists."""
    return KeyItem(
        id=key.id,
        name=key.name,
        scopes=list(key.scopes),
        created_at=timestamp(key.created_at),
        expires_at=timestamp(key.expires_at) if key.expires_at else None,
        last_used_at=timestamp(key.last_used_at) if key.last_used_at else None,
    )


def router() -> APIRouter:
    """`/v1/api-keys`."""
    routes = APIRouter(prefix="/v1/api-keys", tags=["identity"])
    routes.add_api_route("", create, methods=["POST"], status_code=201, responses=problems(400, 401, 403, 409, 413))
    routes.add_api_route("", page, methods=["GET"], responses=problems(400, 401, 403))
    routes.add_api_route("/{id}", revoke, methods=["DELETE"], status_code=204, responses=problems(401, 403, 404))
    return routes
