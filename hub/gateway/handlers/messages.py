"""Saying something."""

from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import MessageEdit, MessageRegenerate, MessageSend
from hub.protocol.results import SendResult, SeqRunResult


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


async def edit(services: GatewayServices, connection: Connection, command: MessageEdit) -> SeqRunResult:
    """Put another text in the place of the caller's message, cut the conversation there and run again."""
    return await services.cutting.edit(connection.principal, command.session, command.message, command.text)


async def regenerate(services: GatewayServices, connection: Connection, command: MessageRegenerate) -> SeqRunResult:
    """Have the team answer a message again."""
    return await services.cutting.regenerate(connection.principal, command.session, command.message)
