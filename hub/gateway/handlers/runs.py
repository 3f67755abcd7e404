"""Stopping runs."""

from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import RunCancel
from hub.protocol.results import RunCommandResult


async def cancel(services: GatewayServices, connection: Connection, command: RunCancel) -> RunCommandResult:
    """Stop the run that is named, or the session's live one."""
    return await services.control.cancel(connection.principal, command.session, command.run)
