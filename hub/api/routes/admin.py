"""The administration of the hub: accounts, their credentials, the end of organisations, and the audit trail."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import StreamingResponse

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.routes.api_keys import KeyItem, key_item
from hub.api.routes.me import Erased
from hub.api.routes.organisations import OrganisationPath
from hub.api.shapes import NO_NUL, Body, Cursor, Flag, Limit, Page
from hub.protocol.frames import timestamp
from hub.protocol.pieces import Wire
from hub.protocol.results import Empty
from hub.protocol.text import Storable
from hub.store.audit import AuditEntry
from hub.store.users import StoredUser

JSON_LINES = "application/jsonl"

UserPath = Annotated[
    Storable, Path(alias="id", description="The user's id or name.", json_schema_extra={"pattern": NO_NUL})
]


class UserItem(Wire):
    """`suspended_at` is null for who may sign in."""

    id: str
    name: str
    is_admin: bool
    has_password: bool
    created_at: str
    suspended_at: str | None


class SignOutUser(Body):
    """`api_keys`: revoke the user's API keys, too."""

    api_keys: Flag = False


async def page(caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None) -> Page[UserItem]:
    """All accounts, newest first."""
    found, following = await wired.administration.users(caller, limit=limit, cursor=cursor)
    return Page(items=[_user(one) for one in found], next=following)


async def suspend(user: UserPath, caller: Caller, wired: Wired, address: Address) -> UserItem:
    """Suspend an account: its tokens end, its keys do not work, its connections close (4503) and the runs it has asked
    for are stopped within seconds."""
    suspended = await wired.administration.suspend(caller, user, address=address)
    wired.suspension.backlog.ask(suspended.id)
    return _user(suspended)


async def restore(user: UserPath, caller: Caller, wired: Wired, address: Address) -> UserItem:
    """Let a suspended user sign in again; API keys that were not revoked work again."""
    return _user(await wired.administration.restore(caller, user, address=address))


async def sign_out(user: UserPath, body: SignOutUser, caller: Caller, wired: Wired, address: Address) -> UserItem:
    """End every sign-in of a user, with all tokens and connections."""
    return _user(await wired.administration.sign_out(caller, user, keys=body.api_keys, address=address))


async def erase(user: UserPath, caller: Caller, wired: Wired, address: Address) -> Erased:
    """Erase a user, as they can themselves (`DELETE /v1/me`). Nothing brings it back."""
    erased = await wired.administration.erase(caller, user, address=address)
    wired.erasure.backlog.ask(erased)
    return Erased(user=erased)


class ErasedOrganisation(Wire):
    """`organisation` is what is left: the id."""

    organisation: str


async def erase_organisation(
    org: OrganisationPath, caller: Caller, wired: Wired, address: Address
) -> ErasedOrganisation:
    """Erase an organisation with all its sessions. Its people keep their accounts. Nothing brings it back."""
    erased = await wired.organisations.erase(caller, org, address=address)
    wired.organisation_erasure.backlog.ask(erased)
    return ErasedOrganisation(organisation=erased)


async def keys(user: UserPath, caller: Caller, wired: Wired, limit: Limit = 50, cursor: Cursor = None) -> Page[KeyItem]:
    """The API keys of a user, without their secrets."""
    found, following = await wired.administration.keys(caller, user, limit=limit, cursor=cursor)
    return Page(items=[key_item(key) for key in found], next=following)


async def revoke_key(
    key: Annotated[str, Path(alias="id", description="The key's id.")], caller: Caller, wired: Wired, address: Address
) -> Empty:
    """End anybody's API key, and every connection that was opened with it."""
    await wired.administration.revoke_key(caller, key, address=address)
    return Empty()


async def trail(
    caller: Caller,
    wired: Wired,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Entries after the one with this id.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 200,
    actor: Annotated[Storable | None, Query(max_length=64, description="Only what this user did (an id).")] = None,
    object_: Annotated[
        Annotated[Storable, Field(max_length=128)] | None,
        Query(alias="object", description="Only about this object, such as `user:<id>` or `session:<id>`."),
    ] = None,
) -> StreamingResponse:
    """Who did what to what, from where and when: one JSON object a line, oldest first. Ask again with `after` = the
    last line's `id` until nothing comes. There is no content and no secret in it, and nothing is ever changed in it."""
    entries = await wired.administration.audit(caller, after=after, limit=limit, actor=actor, object=object_)
    return StreamingResponse(_lines(entries), media_type=JSON_LINES, headers={"cache-control": "no-store"})


async def _lines(entries: list[AuditEntry]) -> AsyncGenerator[bytes]:
    for entry in entries:
        line = {
            "id": entry.id,
            "at": timestamp(entry.at),
            "actor": entry.actor,
            "action": entry.action,
            "object": entry.object,
            "address": entry.address,
            "detail": entry.detail,
        }
        yield orjson.dumps(line) + b"\n"


def _user(user: StoredUser) -> UserItem:
    return UserItem(
        id=user.id,
        name=user.name,
        is_admin=user.is_admin,
        has_password=user.password_hash is not None,
        created_at=timestamp(user.created_at),
        suspended_at=timestamp(user.disabled_at) if user.disabled_at else None,
    )


def router() -> APIRouter:
    """`/v1/admin/…`."""
    routes = APIRouter(prefix="/v1/admin", tags=["administration"])
    known = problems(400, 401, 403, 404)
    routes.add_api_route("/users", page, methods=["GET"], responses=problems(400, 401, 403))
    routes.add_api_route(
        "/users/{id}", erase, methods=["DELETE"], status_code=202, responses=known | problems(409, 413)
    )
    routes.add_api_route("/users/{id}/suspend", suspend, methods=["POST"], responses=known | problems(409, 413))
    routes.add_api_route("/users/{id}/restore", restore, methods=["POST"], responses=known | problems(413))
    routes.add_api_route("/users/{id}/signout", sign_out, methods=["POST"], responses=known | problems(413))
    routes.add_api_route("/users/{id}/api-keys", keys, methods=["GET"], responses=known)
    routes.add_api_route(
        "/organisations/{id}", erase_organisation, methods=["DELETE"], status_code=202, responses=known | problems(409)
    )
    routes.add_api_route("/api-keys/{id}", revoke_key, methods=["DELETE"], responses=problems(401, 403, 404))
    lines: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}}
    routes.add_api_route(
        "/audit", trail, methods=["GET"], responses=lines | problems(400, 401, 403), response_class=StreamingResponse
    )
    return routes
