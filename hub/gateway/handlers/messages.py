"""Saying something."""

from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import MessageSend
from hub.protocol.results import SendResult


async def send(services: GatewayServices, connection: Connection, command: MessageSend) -> SendResult:
    """Record the message and queue its run; the reply means that both are durable."""
    return await services.messages.send(
        connection.principal,
        command.session,
        text=command.full_text,
        parts=[part.model_dump() for part in command.parts or ()],
        client_id=command.client_id,
        to=command.to,
        on_busy=command.on_busy,
    )
