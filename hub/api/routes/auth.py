"""Registering, signing in, staying signed in, signing out, and one-time tickets for WebSockets."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import ConfigDict, Field

from hub.api.caller import Address, Caller, Wired
from hub.api.openapi import problems
from hub.api.shapes import NO_NUL, AnyLimit, Body, Cursor, Flag, Page
from hub.auth.accounts import TokenPair
from hub.auth.header import bearer_token
from hub.auth.hosts import is_of_here
from hub.auth.names import MAX_CHARACTERS, PATTERN
from hub.auth.passwords import MAX_BYTES, MIN_CHARACTERS
from hub.auth.tickets import LIFETIME_S
from hub.domain.errors import BadRequest, Forbidden
from hub.protocol.frames import timestamp
from hub.protocol.pieces import Wire
from hub.protocol.results import Empty
from hub.protocol.text import Storable
from hub.store import pages

Secret = Annotated[str, Field(max_length=8192)]
NewPassword = Annotated[
    Storable, Field(min_length=MIN_CHARACTERS, max_length=MAX_BYTES, json_schema_extra={"pattern": NO_NUL})
]


class RegisterBody(Body):
    name: Annotated[Storable, Field(min_length=1, max_length=MAX_CHARACTERS, json_schema_extra={"pattern": PATTERN})]
    password: NewPassword


class Registered(Wire):
    id: str
    name: str


class TokenForm(Body):
    """The OAuth 2 form. `scope`, `client_id` and `client_secret` are taken because clients send them, and not used."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"properties": {"grant_type": {"const": "password"}}, "required": ["username", "password"]},
                {"properties": {"grant_type": {"const": "refresh_token"}}, "required": ["refresh_token"]},
            ]
        }
    )
    grant_type: Literal["password", "refresh_token"]
    username: Annotated[str | None, Field(max_length=1024)] = None
    password: Annotated[str | None, Field(max_length=MAX_BYTES)] = None
    refresh_token: Secret | None = None
    scope: Secret | None = None
    client_id: Secret | None = None
    client_secret: Secret | None = None


class TokenAnswer(Wire):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a type, not a secret
    expires_in: int
    refresh_token: str


class RevokeForm(Body):
    """RFC 7009. Without `token`, the sign-in of the call's own access token is ended."""

    token: Secret | None = None
    token_type_hint: Secret | None = None
    client_id: Secret | None = None
    client_secret: Secret | None = None


class PasswordBody(Body):
    """`password` is the present one."""

    password: Annotated[Storable, Field(max_length=MAX_BYTES, json_schema_extra={"pattern": NO_NUL})]
    new_password: NewPassword


class SignOutBody(Body):
    """`api_keys`: end the caller's API keys, too."""

    api_keys: Flag = False


class SignInItem(Wire):
    """`used_at` is when it last got new tokens; `current`: the one this call belongs to."""

    id: str
    created_at: str
    used_at: str
    expires_at: str
    current: bool


class Ticket(Wire):
    ticket: str
    expires_in: int


async def register(body: RegisterBody, wired: Wired, address: Address, request: Request) -> Registered:
    """Make an account; refused with `forbidden` where registration is closed."""
    origin = request.headers.get("origin")
    if not (wired.registers_by_name or origin is None or origin in wired.allowed_origins or is_of_here(origin)):
        raise Forbidden(
            "only pages of localhost may register here: HUB_REGISTRATION=open lets those of other names, too"
        )
    user = await wired.accounts.register(body.name, body.password, address=address)
    return Registered(id=user.id, name=user.name)


async def token(form: Annotated[TokenForm, Form()], wired: Wired, address: Address, response: Response) -> TokenAnswer:
    """Get an access token and a refresh token, for a name and password or for a refresh token (which is used up)."""
    not_stored(response)
    if form.grant_type == "refresh_token":
        if form.refresh_token is None:
            raise BadRequest("the grant refresh_token needs refresh_token")
        pair = await wired.accounts.refresh(form.refresh_token, address=address)
    else:
        if form.username is None or form.password is None:
            raise BadRequest("the grant password needs username and password")
        pair = await wired.accounts.sign_in(form.username, form.password, address=address)
    return answer(pair)


async def revoke(form: Annotated[RevokeForm, Form()], wired: Wired, address: Address, request: Request) -> Empty:
    """Sign out: end the sign-in a refresh or access token belongs to, with all its tokens and open connections."""
    own = form.token or bearer_token(request.headers.getlist("authorization"))
    if own is None:
        raise BadRequest("the form needs token")
    await wired.accounts.revoke(own, address=address)
    return Empty()


async def ticket(caller: Caller, wired: Wired, request: Request, response: Response) -> Ticket:
    """Get a ticket for `GET /v1/ws?ticket=…`: it works once, within 30 s, and only from this call's Origin, if any."""
    not_stored(response)
    origin = request.headers.get("origin")
    return Ticket(ticket=await wired.tickets.mint(caller, origin=origin), expires_in=LIFETIME_S)


async def change_password(
    body: PasswordBody, caller: Caller, wired: Wired, address: Address, response: Response
) -> TokenAnswer:
    """Change the password. Every sign-in of the caller ends, with its tokens and connections; the answer begins a new
    one. API keys stay."""
    not_stored(response)
    pair = await wired.accounts.change_password(caller, body.password, body.new_password, address=address)
    return answer(pair)


async def sign_out_everywhere(body: SignOutBody, caller: Caller, wired: Wired, address: Address) -> Empty:
    """End every sign-in of the caller, this one too, with all tokens and open connections."""
    await wired.sign_ins.end_all(caller, keys=body.api_keys, address=address)
    return Empty()


async def sign_ins(caller: Caller, wired: Wired, limit: AnyLimit = None, cursor: Cursor = None) -> Page[SignInItem]:
    """Where the caller is signed in, the last used one first."""
    found, following = pages.part(await wired.sign_ins.list(caller), lambda one: one.id, limit, cursor)
    items = [
        SignInItem(
            id=one.id,
            created_at=timestamp(one.created_at),
            used_at=timestamp(one.used_at),
            expires_at=timestamp(one.expires_at),
            current=one.id == caller.grant,
        )
        for one in found
    ]
    return Page(items=items, next=following)


async def end_sign_in(
    sign_in: Annotated[str, Path(alias="id", description="The sign-in's id.")],
    caller: Caller,
    wired: Wired,
    address: Address,
) -> None:
    """End one sign-in, with its tokens and open connections."""
    await wired.sign_ins.end(caller, sign_in, address=address)


def answer(pair: TokenPair) -> TokenAnswer:
    """A pair as the API shows it."""
    return TokenAnswer(access_token=pair.access_token, expires_in=pair.expires_in, refresh_token=pair.refresh_token)


def not_stored(response: Response) -> None:
    """Nobody between the hub and the caller keeps the response."""
    response.headers["cache-control"] = "no-store"


def router() -> APIRouter:
    """`/v1/auth/…`."""
    routes = APIRouter(prefix="/v1/auth", tags=["identity"])
    routes.add_api_route(
        "/register", register, methods=["POST"], status_code=201, responses=problems(400, 403, 409, 413, 429)
    )
    routes.add_api_route("/token", token, methods=["POST"], responses=problems(400, 401, 413, 429))
    routes.add_api_route(
        "/revoke",
        revoke,
        methods=["POST"],
        responses=problems(400, 401, 413),
        openapi_extra={"requestBody": {"required": False}},
    )
    routes.add_api_route("/tickets", ticket, methods=["POST"], responses=problems(400, 401, 413))
    routes.add_api_route(
        "/password", change_password, methods=["POST"], responses=problems(400, 401, 403, 409, 413, 429)
    )
    routes.add_api_route("/signout-all", sign_out_everywhere, methods=["POST"], responses=problems(400, 401, 403, 413))
    routes.add_api_route("/sign-ins", sign_ins, methods=["GET"], responses=problems(400, 401, 403))
    routes.add_api_route(
        "/sign-ins/{id}", end_sign_in, methods=["DELETE"], status_code=204, responses=problems(401, 403, 404)
    )
    return routes
