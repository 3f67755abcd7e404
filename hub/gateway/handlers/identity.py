"""Who is calling, and whether anybody is there."""

from dataclasses import replace

from hub.domain.errors import Forbidden
from hub.domain.principal import Principal
from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import Auth
from hub.protocol.frames import now, timestamp
from hub.protocol.pieces import Person
from hub.protocol.results import AuthResult, PingResult


async def renew(services: GatewayServices, connection: Connection, command: Auth) -> AuthResult:
    """Replace the credential of the open connection. Raises `Forbidden` for another user's."""
    principal = await services.authenticator.bearer(command.token)
    if principal.user != connection.principal.user:
        raise Forbidden("the credential belongs to another user")
    connection.renew(replace(principal, address=connection.principal.address))
    return auth_result(principal)


def ping() -> PingResult:
    """The hub's time."""
    return PingResult(time=now())


def auth_result(principal: Principal) -> AuthResult:
    """Who was recognised, and until when."""
    return AuthResult(user=person(principal), expires_at=timestamp(principal.expires_at))


def person(principal: Principal) -> Person:
    """The wire's form of a caller."""
    return Person(id=principal.user, name=principal.name)
