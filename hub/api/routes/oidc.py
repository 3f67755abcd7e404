"""Signing in with the OpenID provider: to it and back by redirects, then tokens for the page by a call.

Tokens never stand in an address. The page gets a code there, in the fragment, which no server sees; it is good once,
for a minute, in the browser that began.
"""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from hub.api.caller import Address, Wired
from hub.api.openapi import problems
from hub.api.routes.auth import TokenAnswer, answer, not_stored
from hub.api.services import Services
from hub.api.shapes import Body
from hub.auth.oidc.refusal import Reason, SignInRefused
from hub.auth.oidc.sign_in import CALLBACK, FLOW_S, OidcSignIn
from hub.domain.errors import NotFound
from hub.protocol.pieces import Wire

BESIDE = "state", "code", "error", "iss"  # of what a provider sends back


class Provider(Wire):
    """`name` is for a button that leads to `/v1/auth/oidc`."""

    name: str


class Methods(Wire):
    """How people may sign in: always with a password, and with a provider where there is one. `registration`: strangers
    may make themselves an account with a password."""

    password: Literal[True] = True
    oidc: Provider | None
    registration: bool


class CodeBody(Body):
    code: Annotated[str, Field(min_length=1, max_length=128)]


async def methods(wired: Wired) -> Methods:
    """How one can sign in here."""
    provider = Provider(name=wired.oidc.name) if wired.oidc is not None else None
    return Methods(oidc=provider, registration=wired.accounts.registration_open)


async def begin(request: Request, wired: Wired, address: Address) -> Response:
    """Begin to sign in with the OpenID provider: a browser is sent there, and comes back to the page."""
    oidc = _configured(wired)
    cookie = _Cookie(oidc, request)
    try:
        origin = oidc.origin(request.url.scheme, request.headers["host"])
        begun = await oidc.begin(origin=origin, browser=cookie.value, address=address)
    except SignInRefused as refused:
        return _to_page("sign-in-failed", refused.reason)
    response = _redirect(begun.url)
    cookie.set(response, begun.browser, FLOW_S)
    return response


async def callback(
    request: Request,
    wired: Wired,
    address: Address,
    _state: Annotated[str | None, Query(alias="state")] = None,
    _code: Annotated[str | None, Query(alias="code")] = None,
    _error: Annotated[str | None, Query(alias="error")] = None,
    _iss: Annotated[str | None, Query(alias="iss")] = None,
) -> Response:
    """Where the OpenID provider sends the browser back to. The page is told a code (`/#sign-in=…`), or in a word why
    not (`/#sign-in-failed=…`)."""
    oidc = _configured(wired)
    given = {name: values[0] for name in BESIDE if len(values := request.query_params.getlist(name)) == 1}
    try:
        if any(len(request.query_params.getlist(name)) > 1 for name in BESIDE):
            raise oidc.refused(Reason.PROVIDER, "callback: a parameter twice")
        code = await oidc.complete(given, browser=_Cookie(oidc, request).value, address=address)
    except SignInRefused as refused:
        return _to_page("sign-in-failed", refused.reason)
    return _to_page("sign-in", code)


async def token(body: CodeBody, request: Request, wired: Wired, address: Address, response: Response) -> TokenAnswer:
    """Get tokens for the code that the page was told after a sign-in, once, in the browser that began it."""
    not_stored(response)
    oidc = _configured(wired)
    cookie = _Cookie(oidc, request)
    pair = await oidc.redeem(body.code, browser=cookie.value, address=address)
    cookie.set(response, "", 0)
    return answer(pair)


def _configured(wired: Services) -> OidcSignIn:
    if wired.oidc is None:
        raise NotFound("this hub has no OpenID provider")
    return wired.oidc


class _Cookie:
    """What binds a sign-in to the browser that began it. It says nothing about who somebody is."""

    def __init__(self, oidc: OidcSignIn, request: Request) -> None:
        self._secure = oidc.is_secure(request.url.scheme)
        # Over https no other host, and nothing without TLS, can set a cookie with this prefix.
        self._name = "__Host-hub-oidc" if self._secure else "hub-oidc"
        self.value = request.cookies.get(self._name)

    def set(self, response: Response, value: str, max_age: int) -> None:
        """With a `max_age` of 0 it is gone."""
        response.set_cookie(
            self._name, value, max_age=max_age, path="/", secure=self._secure, httponly=True, samesite="lax"
        )


def _to_page(what: str, value: str) -> Response:
    # Always our own page: nothing that anybody sends is an address to go to.
    return _redirect(f"/#{what}={quote(value, safe='')}")


def _redirect(url: str) -> Response:
    response = RedirectResponse(url, 303)
    not_stored(response)
    return response


def router() -> APIRouter:
    """`/v1/auth/methods` and `/v1/auth/oidc…`."""
    routes = APIRouter(tags=["identity"])
    sent: dict[int | str, dict[str, object]] = {303: {"description": "To the provider, or to the page."}}
    routes.add_api_route("/v1/auth/methods", methods, methods=["GET"], responses=problems())
    routes.add_api_route(
        "/v1/auth/oidc",
        begin,
        methods=["GET"],
        status_code=303,
        response_class=Response,
        responses={**problems(404), **sent},
    )
    routes.add_api_route(
        CALLBACK,
        callback,
        methods=["GET"],
        status_code=303,
        response_class=Response,
        responses={**problems(400, 404), **sent},
    )
    routes.add_api_route("/v1/auth/oidc/token", token, methods=["POST"], responses=problems(400, 401, 404, 413))
    return routes
