"""Programs that speak as agents."""

from hub.domain.errors import NotFound
from hub.gateway.connection import Connection
from hub.gateway.services import GatewayServices
from hub.gateway.serving_bot import Registration
from hub.protocol.commands import AgentRegister, TurnComplete, TurnDecline, TurnDelta
from hub.protocol.results import Empty, RegisterResult


async def register(services: GatewayServices, connection: Connection, command: AgentRegister) -> RegisterResult:
    """Take turns of an agent on this connection. Raises `NotFound` for what the caller may not speak for."""
    session = await services.seats.check(
        connection.principal, command.agent, session=command.session, team=command.team
    )
    services.serving.register(connection, Registration(command.agent, session, command.team), command.turns)
    return RegisterResult(agent=command.agent, session=session, team=command.team, turns=command.turns)


def delta(services: GatewayServices, connection: Connection, command: TurnDelta) -> Empty:
    """The next piece of an offered turn."""
    services.serving.delta(connection, command)
    return Empty()


async def complete(services: GatewayServices, connection: Connection, command: TurnComplete) -> Empty:
    """The end of an offered turn; what the caller may in the session is asked once more."""
    turn = services.serving.turn(connection, command.offer)
    try:
        await services.seats.check(connection.principal, turn.data.agent, session=turn.session, team=None)
    except NotFound:
        services.serving.withdraw(turn)
        raise
    await services.serving.complete(connection, command)
    return Empty()


async def decline(services: GatewayServices, connection: Connection, command: TurnDecline) -> Empty:
    """Leave an offered turn to somebody else."""
    await services.serving.decline(connection, command)
    return Empty()
