"""Telling the others what one is doing."""

from hub.auth.policy import Action, require_scope
from hub.domain.errors import BadRequest
from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import PresenceSet
from hub.protocol.results import Empty


async def set_status(services: GatewayServices, connection: Connection, command: PresenceSet) -> Empty:
    """Set this connection's status in a session it follows."""
    principal = connection.principal
    require_scope(principal, Action.PRESENCE)
    session = await services.sessions.get(principal, command.session)
    if session.id not in connection.followers:
        raise BadRequest("join the session first")
    services.presence.set(session.id, principal.user, connection.id, command.status)
    return Empty()
