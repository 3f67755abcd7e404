"""Everything a worker tells Redis without waiting for it, in order, over one connection of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import hiredis

from hub.relay.scripts import Script, load_all
from hub.relay.wire import Address, Reply, Wire, encode, stay_connected

MAX_PENDING_BYTES = 8_388_608
MIN_GAP_S = 0.004  # between two batches: no token waits longer, and only when others have just left
REPLY_TIMEOUT_S = 2.0  # without any progress: the connection is given up

OnReply = Callable[[Reply], None]
Still = Callable[[], bool]
"""Whether a command is to be carried out, asked when it leaves."""


class NotSent(Exception):
    """The reply of a command that Redis did not answer. It may have been carried out all the same."""


class Withdrawn(Exception):
    """The reply of a command that was not wanted any more when it was to leave."""


class _Command(NamedTuple):
    data: bytes
    on_reply: OnReply
    still: Still | None = None


class Pipeline:
    """Commands leave in the order they come. What collects while one batch is under way goes out as the next one:
    an idle connection sends at once, a slow one sends larger batches instead of queueing longer.

    A command whose answer will not come gets a `NotSent` as its reply: at once while Redis is away, the oldest first
    when more than `max_bytes` wait, and all of them when the connection ends or stands still for `REPLY_TIMEOUT_S`.
    """

    def __init__(self, url: str, *, max_bytes: int = MAX_PENDING_BYTES) -> None:
        self._address = Address.parse(url)
        self._max_bytes = max_bytes
        self._scripts = load_all()
        self._wire: Wire | None = None
        self._pending: deque[_Command] = deque()
        self._pending_bytes = 0
        self._conditional = False  # something pending may be withdrawn
        self._in_flight: deque[_Command] = deque()
        self._due: list[Callable[[], None]] = []
        self._flush_due = False
        self._flushed_at = 0.0
        self._replies = 0
        self.flushes = 0
        self.dropped = 0
        self.reconnects = -1  # the first is none

    @property
    def connected(self) -> bool:
        return self._wire is not None

    def submit(self, command: bytes, on_reply: OnReply, still: Still | None = None) -> None:
        """Sends an encoded command. Never blocks, never raises; `on_reply` may be called before this returns.

        One that is not wanted any more (`still`) when it is to leave does not: a worker may stand still for long before
        that.
        """
        if self._wire is None:
            on_reply(NotSent("Redis is away"))
            return
        self._pending.append(_Command(command, on_reply, still))
        self._conditional = self._conditional or still is not None
        self._pending_bytes += len(command)
        if not self._in_flight:
            self._flush_soon()
        while self._pending_bytes > self._max_bytes:
            oldest = self._pending.popleft()
            self._pending_bytes -= len(oldest.data)
            self.dropped += 1
            oldest.on_reply(NotSent("too much waits for Redis"))

    def before_flush(self, submit: Callable[[], None]) -> None:
        """Calls `submit` once, right before the next batch leaves (at once while Redis is away): what it submits then
        leaves with that batch, as its end."""
        if self._wire is None:
            submit()
            return
        self._due.append(submit)
        if not self._in_flight:
            self._flush_soon()

    def script(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], on_reply: OnReply) -> None:
        """`submit` for a script; one that Redis does not know (yet, or after a restart) is sent along once."""
        self.evaluate(script, encode(b"EVALSHA", script.digest, b"%d" % len(keys), *keys, *args), on_reply)

    def evaluate(self, script: Script, command: bytes, on_reply: OnReply) -> None:
        """The same with a finished EVALSHA."""

        def known(reply: Reply) -> None:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                self.submit(encode(b"SCRIPT", b"LOAD", script.text), ignored)
                self.submit(command, on_reply)
            else:
                on_reply(reply)

        self.submit(command, known)

    async def run(self) -> None:
        """Keeps the connection, for ever."""
        await stay_connected(self._address, "publishing", self._use)

    async def _use(self, wire: Wire) -> None:
        self.reconnects += 1
        wire.listen(self._replied)
        self._wire = wire
        # First of all: a script that had to be sent again would be overtaken by what was sent after it.
        for script in self._scripts:
            self.submit(encode(b"SCRIPT", b"LOAD", script.text), ignored)
        try:
            await self._watch(wire)
        finally:
            self._give_up()

    async def _watch(self, wire: Wire) -> None:
        """Returns when the connection has ended or has stood still with commands under way."""
        still = False
        while True:
            before = self._replies
            done, _ = await asyncio.wait((wire.closed,), timeout=REPLY_TIMEOUT_S / 2)
            if done or (still and self._in_flight and self._replies == before):
                return
            still = bool(self._in_flight) and self._replies == before

    def _flush_soon(self) -> None:
        """An idle connection sends at the end of this pass of the loop; a busy one every few milliseconds, because a
        batch of many costs Redis, the network and every subscriber little more than a batch of one."""
        if self._flush_due:
            return
        self._flush_due = True
        loop = asyncio.get_running_loop()
        wait = self._flushed_at + MIN_GAP_S - loop.time()
        if wait <= 0:
            loop.call_soon(self._flush)
        else:
            loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        if self._wire is not None and not self._in_flight:
            due, self._due = self._due, []
            for submit in due:
                submit()
        self._flush_due = False
        if self._conditional and not self._in_flight:
            self._withdraw()
        if self._wire is None or not self._pending or self._in_flight:
            return
        self._in_flight, self._pending, self._pending_bytes = self._pending, self._in_flight, 0
        self.flushes += 1
        self._flushed_at = asyncio.get_running_loop().time()
        self._wire.write(b"".join([command.data for command in self._in_flight]))

    def _withdraw(self) -> None:
        """Takes out of what is pending what is not wanted any more."""
        self._conditional = False
        pending, self._pending, self._pending_bytes = self._pending, deque(), 0
        unwanted: list[_Command] = []
        for command in pending:
            if command.still is None or command.still():
                self._pending.append(command)
                self._pending_bytes += len(command.data)
            else:
                unwanted.append(command)
        for command in unwanted:
            command.on_reply(Withdrawn("it was not wanted any more"))

    def _replied(self, replies: Callable[[], Reply]) -> None:
        while (reply := replies()) is not False:
            self._replies += 1
            if self._in_flight:
                self._in_flight.popleft().on_reply(reply)
                if not self._in_flight and (self._pending or self._due):
                    self._flush_soon()

    def _give_up(self) -> None:
        self._wire = None
        lost, due = (*self._in_flight, *self._pending), self._due
        self._due = []
        self._in_flight.clear()
        self._pending.clear()
        self._pending_bytes = 0
        for command in lost:
            command.on_reply(NotSent("the connection to Redis was lost"))
        for submit in due:
            submit()


def ignored(_reply: Reply) -> None:
    """For commands whose reply changes nothing."""
