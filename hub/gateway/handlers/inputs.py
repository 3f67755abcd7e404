"""Answering what runs ask."""

from hub.domain.calls import Decision
from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.protocol.commands import InputRespond
from hub.protocol.results import SeqResult


async def respond(services: GatewayServices, connection: Connection, command: InputRespond) -> SeqResult:
    """Answer a request; the reply means that the answer is durable."""
    return await services.inputs.respond(
        connection.principal,
        command.session,
        command.request,
        decision=Decision(command.decision) if command.decision is not None else None,
        text=command.text,
        arguments_sha256=command.arguments_sha256,
    )
