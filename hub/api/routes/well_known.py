"""What others may need to know about the hub: the public keys of its access tokens."""

from typing import Any

from fastapi import APIRouter, Response

from hub.api.caller import Wired
from hub.api.openapi import problems
from hub.protocol.pieces import Wire

KEPT_S = 300  # shorter than the time between publishing a key and signing with it


class KeySet(Wire):
    """A JWK set (RFC 7517); empty where tokens are signed with secrets only."""

    keys: list[dict[str, Any]]


async def jwks(wired: Wired, response: Response) -> KeySet:
    """The public keys that verify access tokens."""
    response.headers["cache-control"] = f"public, max-age={KEPT_S}"
    return KeySet.model_validate(wired.key_set)


def router() -> APIRouter:
    """`/.well-known/jwks.json`."""
    routes = APIRouter(tags=["identity"])
    routes.add_api_route("/.well-known/jwks.json", jwks, methods=["GET"], responses=problems())
    return routes
