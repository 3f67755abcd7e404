"""Every command's way to its handler, and every error's way into a reply."""

import asyncio
import time
from typing import assert_never

import structlog
from pydantic import BaseModel

from hub.auth.policy import COMMANDS, require_credential
from hub.domain.errors import HubError, Internal, Unavailable
from hub.domain.ids import new_id
from hub.gateway.connection import Connection
from hub.gateway.handlers import agents, identity, inputs, messages, presence, runs, sessions
from hub.gateway.services import GatewayServices
from hub.protocol.commands import (
    AgentRegister,
    AnyCommand,
    Auth,
    InputRespond,
    MessageEdit,
    MessageRegenerate,
    MessageSend,
    Ping,
    PresenceSet,
    RunCancel,
    RunPause,
    RunResume,
    SessionCreate,
    SessionFork,
    SessionJoin,
    SessionLeave,
    TurnComplete,
    TurnDecline,
    TurnDelta,
)
from hub.telemetry.times import Times

COMMAND_S = 4.0  # from its arrival: whoever asks hears within 5 s, also that it cannot be done, and from a busy machine
FORK_S = 10.0  # a fork copies a conversation; to try again would make another
JOIN_S = 10.0  # when everybody comes back at once, they wait for each other rather than to come again
JOINS_AT_ONCE = 16  # the others wait without a connection to PostgreSQL, which those who write need, too


class Dispatch:
    """Carries out one command of a connection: exactly one reply, within `deadline_s` seconds of its arrival; a fork
    and a join have ten."""

    def __init__(self, services: GatewayServices, *, deadline_s: float = COMMAND_S) -> None:
        self._services = services
        self._deadline_s = deadline_s
        self._joins = asyncio.Semaphore(JOINS_AT_ONCE)
        self.ack_times = Times()  # of messages, from the command's turn to the ok
        self._log = structlog.get_logger("hub.gateway")

    async def answer(self, connection: Connection, command: AnyCommand, arrived: float) -> None:
        """Carry out `command`, which came at this time of the event loop, and reply. Never raises but when
        cancelled."""
        began = time.monotonic()
        try:
            async with asyncio.timeout_at(arrived + self._time_for(command)):
                result = await self._carry_out(connection, command)
        except HubError as e:
            connection.fail(command.id, e)
        except TimeoutError:
            connection.fail(command.id, Unavailable("the hub did not answer in time", retry_after=1))
        except Exception:  # noqa: BLE001  # boundary: one command; the client gets a code and an id, the log the rest
            correlation = new_id()
            self._log.exception("command failed", command=command.type, correlation=correlation)
            connection.fail(command.id, Internal("internal error", details={"correlation": correlation}))
        else:
            if result is not None:
                connection.reply(command.id, result)
            if isinstance(command, MessageSend):
                self.ack_times.add(time.monotonic() - began)

    def _time_for(self, command: AnyCommand) -> float:
        match command:
            case SessionFork():
                return FORK_S
            case SessionJoin():
                return JOIN_S
            case _:
                return self._deadline_s

    async def _carry_out(  # noqa: C901 - one line for each command
        self, connection: Connection, command: AnyCommand
    ) -> BaseModel | None:
        """The result; None where the handler has replied itself, because events must follow its reply at once."""
        require_credential(connection.principal, COMMANDS[command.type])
        match command:
            case Auth():
                return await identity.renew(self._services, connection, command)
            case Ping():
                return identity.ping()
            case SessionCreate():
                return await sessions.create(self._services, connection, command)
            case SessionJoin():
                async with self._joins:
                    await sessions.join(self._services, connection, command)
                return None
            case SessionLeave():
                return await sessions.leave(self._services, connection, command)
            case MessageSend():
                return await messages.send(self._services, connection, command)
            case MessageEdit():
                return await messages.edit(self._services, connection, command)
            case MessageRegenerate():
                return await messages.regenerate(self._services, connection, command)
            case RunCancel():
                return await runs.cancel(self._services, connection, command)
            case RunPause():
                return await runs.pause(self._services, connection, command)
            case RunResume():
                return await runs.resume(self._services, connection, command)
            case InputRespond():
                return await inputs.respond(self._services, connection, command)
            case PresenceSet():
                return await presence.set_status(self._services, connection, command)
            case SessionFork():
                return await sessions.fork(self._services, connection, command)
            case AgentRegister():
                return await agents.register(self._services, connection, command)
            case TurnDelta():
                return agents.delta(self._services, connection, command)
            case TurnComplete():
                return await agents.complete(self._services, connection, command)
            case TurnDecline():
                return await agents.decline(self._services, connection, command)
            case _:
                assert_never(command)
