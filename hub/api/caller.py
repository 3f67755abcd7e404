"""What routes ask of a request: who calls, from where, and the services that answer."""

from dataclasses import replace
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

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


async def caller(
    request: Request,
    wired: Wired,
    _signed_in: Annotated[object, Security(_SIGN_IN)],
    _bearer: Annotated[object, Security(_BEARER)],
) -> Principal:
    """Who calls. Raises `Unauthenticated` when nobody can tell, `RateLimited` when they ask too often, `Forbidden` when
    the credential is not for this."""
    token = bearer_token(request.headers.getlist("authorization"))
    if token is None:
        raise Unauthenticated("this needs an Authorization header: Bearer <access token or API key>")
    principal = await wired.authenticator.bearer(token)
    pattern = request.scope["route"].path
    standing = wired.rate_limits.request(principal, f"{request.method} {pattern}")
    stand(request.scope["state"], standing)
    check(standing)
    require_credential(principal, route_rule(request.method, pattern))
    return replace(principal, address=await address(request))


Caller = Annotated[Principal, Depends(caller)]


async def address(request: Request) -> str | None:
    """Where the call comes from: the peer's address, or what a trusted proxy says."""
    return request.client.host if request.client is not None else None


Address = Annotated[str | None, Depends(address)]
