"""Commands that wait for their reply, across connections."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hub.protocol.commands import Command
from hub.protocol.frames import Reply
from hub_client.errors import ConnectionLost


def _answer() -> "asyncio.Future[Reply]":
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Call:
    """A command and its answer to come.

    `repeatable`: sending it twice does what sending it once does, so it is sent again on a new connection.
    `on_reply` runs in the reader, before any frame that comes after the reply is looked at.
    """

    command: Command
    repeatable: bool = False
    on_reply: Callable[[Reply], None] | None = None
    answer: "asyncio.Future[Reply]" = field(default_factory=_answer)
    sent: bool = False


class Calls:
    """The commands under way, by their id, in the order in which they were made."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """A command was made."""
        self._calls[call.command.id] = call

    def discard(self, call: Call) -> None:
        """Nobody waits for it any more."""
        self._calls.pop(call.command.id, None)

    def settle(self, reply: Reply) -> None:
        """A reply came; one that nobody waits for is ignored."""
        call = self._calls.pop(reply.id or "", None)
        if call is None or call.answer.done():
            return
        if call.on_reply is not None:
            call.on_reply(reply)
        call.answer.set_result(reply)

    def connection_lost(self) -> None:
        """What was sent and may not be sent again has failed; the rest waits for the next connection."""
        for call in list(self._calls.values()):
            if call.sent and not call.repeatable:
                self.discard(call)
                self._fail(call, ConnectionLost("the connection ended before the hub answered"))
            call.sent = False

    def unsent(self) -> list[Call]:
        """What has yet to be sent on this connection."""
        return [call for call in self._calls.values() if not call.sent]

    def end(self, error: Exception) -> None:
        """No connection will come any more."""
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            self._fail(call, error)

    @staticmethod
    def _fail(call: Call, error: Exception) -> None:
        if not call.answer.done():
            call.answer.set_exception(error)
            call.answer.exception()  # seen: whoever waited may have been cancelled meanwhile
