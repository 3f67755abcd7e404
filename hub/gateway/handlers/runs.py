"""Stopping and pausing runs."""

from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import RunCancel, RunPause, RunResume
from hub.protocol.results import RunCommandResult


async def cancel(services: GatewayServices, connection: Connection, command: RunCancel) -> RunCommandResult:
    """Stop the run that is named, or the session's live one."""
    return await services.control.cancel(connection.principal, command.session, command.run)


async def pause(services: GatewayServices, connection: Connection, command: RunPause) -> RunCommandResult:
    """Pause the session's run after its present turn, or at once when it is doing nothing."""
    return await services.control.pause(connection.principal, command.session)


async def resume(services: GatewayServices, connection: Connection, command: RunResume) -> RunCommandResult:
    """Let the session's paused run go on."""
    return await services.control.resume(connection.principal, command.session)
