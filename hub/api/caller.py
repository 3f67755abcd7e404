"""What routes ask of a request: who calls, from where, and the services that answer."""

from dataclasses import replace
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from starlette.types import Scope

from hub.api.rate_limit import stand
from hub.api.services import Services
from hub.auth.header import bearer_token
from hub.auth.policy import require_credential, route_rule
from hub.auth.rate_limits import check
from hub.domain.errors import Unauthenticated
from hub.domain.principal import Principal

# These two only describe, for OpenAPI and the sign-in of /docs, what `caller` reads itself.
_SIGN_IN = OAuth2PasswordBearer(
    "/v1/auth/token",
    scheme_name="signIn",
    refreshUrl="/v1/auth/token",
    description="Sign in with name and password.",
    auto_error=False,
)
_BEARER = HTTPBearer(
    scheme_name="bearer", description="An access token or an API key (`hub_<id>_<secret>`).", auto_error=False
)


# These are async though they await nothing: FastAPI has plain functions run by a thread, which costs a request more
# than all they do.
async def services(request: Request) -> Services:
    """What the app was built with."""
    return cast(Services, request.app.state.services)


Wired = Annotated[Services, Depends(services)]


async def identified(
    scope: Scope, wired: Services, method: str, pattern: str, *, is_asked_again: bool = False
) -> Principal:
    """Who asks this of a route. With `is_asked_again` that may be an answer of a moment ago: for what asks itself
    whether the credential still holds. Raises `Unauthenticated` when nobody can tell, `RateLimited` when they ask too
    often, `Forbidden` when the credential is not for this."""
    token = bearer_token([value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"])
    if token is None:
        raise Unauthenticated("this needs an Authorization header: Bearer <access token or API key>")
    known = wired.authenticator.known(token) if is_asked_again else None
    principal = known if known is not None else await wired.authenticator.bearer(token)
    standing = wired.rate_limits.request(principal, f"{method} {pattern}")
    stand(scope["state"], standing)
    check(standing)
    require_credential(principal, route_rule(method, pattern))
    return replace(principal, address=peer(scope))


async def caller(
    request: Request,
    wired: Wired,
    _signed_in: Annotated[object, Security(_SIGN_IN)],
    _bearer: Annotated[object, Security(_BEARER)],
) -> Principal:
    """Who calls, as in `identified`."""
    return await identified(request.scope, wired, request.method, request.scope["route"].path)


Caller = Annotated[Principal, Depends(caller)]


def peer(scope: Scope) -> str | None:
    """Where a request comes from: the peer's address, or what a trusted proxy says."""
    client = scope.get("client")
    return client[0] if client is not None else None


async def address(request: Request) -> str | None:
    """As `peer`."""
    return peer(request.scope)


Address = Annotated[str | None, Depends(address)]
