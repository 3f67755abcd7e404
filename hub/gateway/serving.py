"""The bots that are connected to this worker: what they are registered for, and the turns in their hands.

A runner, here or elsewhere, decides about a turn; this side lets through what belongs to it, and refuses by name what
does not any more.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import assert_never

from hub.domain.errors import BadRequest, Conflict, NotFound, RateLimited, TooLarge, Unavailable
from hub.domain.ids import RunId, SessionId, UserId
from hub.gateway.connection import Connection
from hub.gateway.pace import PLACE_RETRY_S
from hub.gateway.serving_bot import Bot, Registration, Turn
from hub.protocol.commands import TurnComplete, TurnDecline, TurnDelta
from hub.protocol.frames import live_frame
from hub.protocol.live import TurnOfferedData, TurnWithdrawnData
from hub.relay.bot_line import (
    BotLine,
    Complete,
    Decline,
    Delta,
    Dropped,
    Here,
    Offer,
    Over,
    Ping,
    Ready,
    Reason,
    Seek,
    Taken,
    ToGateway,
)

MAX_REGISTRATIONS = 64  # of one connection
MAX_TEXT = 100_000  # characters of one turn: what search takes in of a message
MAX_REMEMBERED = 64  # ended turns of a connection, for a coded answer to what comes late
TAKEN_S = 2.0  # how long an end of a turn waits for the runner's word
OVERTIME_S = 5.0  # beyond a turn's time, when its runner says nothing any more

DONE = "done"
_SAID = {
    "superseded": "somebody else has the turn now",
    "not_accepted": "the turn was not begun in time",
    "silent": "the turn was silent for too long",
    "timed_out": "the turn took too long",
    "cancelled": "the turn was cancelled",
    "lost": "the runner of the turn was lost",
    DONE: "the turn is over",
}


class Serving:
    """One worker's bots. Everything ends with its connection; nothing here waits but for the end of a turn."""

    def __init__(self, line: BotLine) -> None:
        self._line = line
        self._bots: dict[str, Bot] = {}  # by connection
        self._of_agent: dict[str, dict[str, Bot]] = {}  # by connection, too
        self._turns: dict[str, Turn] = {}  # by offer, as long as their bots remember them
        self._loop = asyncio.get_running_loop()
        self.draining = False
        self.refused = 0  # pieces and ends of turns that were not theirs any more

    def __len__(self) -> int:
        return len(self._bots)

    @property
    def turns(self) -> int:
        """Turns in the hands of bots here."""
        return sum(bot.load for bot in self._bots.values())

    # ---- what bots do

    def register(self, connection: Connection, wanted: Registration, turns: int) -> None:
        """Offer so many turns at once to the connection from now on. Raises `RateLimited` when it has too many
        registrations. The caller has checked that it may."""
        if connection.closing:
            return
        bot = self._bots.setdefault(connection.id, Bot(connection))
        if wanted not in bot.registrations and len(bot.registrations) >= MAX_REGISTRATIONS:
            raise RateLimited(
                "too many registrations on one connection",
                retry_after=PLACE_RETRY_S,
                details={"registrations": MAX_REGISTRATIONS},
            )
        bot.registrations[wanted] = turns
        self._of_agent.setdefault(wanted.agent, {})[connection.id] = bot
        if turns:
            self._line.shout(Ready(agent=wanted.agent))

    def delta(self, connection: Connection, command: TurnDelta) -> None:
        """Pass a piece on. Raises `NotFound`, `Conflict`, `TooLarge`, and `BadRequest` out of order."""
        turn = self._held(connection, command.offer)
        if turn.ended is not None:
            raise Conflict(_SAID[DONE], details={"reason": DONE})
        if command.index != turn.index:
            raise BadRequest("this is not the next piece", details={"index": turn.index})
        if turn.size + len(command.text) > MAX_TEXT:
            raise TooLarge("the turn's text is too long", details={"characters": MAX_TEXT})
        turn.index += 1
        turn.size += len(command.text)
        turn.pieces.append(command.text)
        note = Delta(sender=self._line.address, offer=command.offer, index=command.index, text=command.text)
        self._line.tell(turn.sender, note, self._lost(turn))

    def turn(self, connection: Connection, offer: str) -> Turn:
        """A turn this connection has or had. Raises `NotFound`."""
        bot = self._bots.get(connection.id)
        turn = bot.turns.get(offer) if bot is not None else None
        if turn is None:
            raise NotFound("no such offer")
        return turn

    async def complete(self, connection: Connection, command: TurnComplete) -> None:
        """Pass the whole text on; returns when the runner has it. The same end again does the same. Raises `NotFound`,
        `Conflict`, `BadRequest`, and `Unavailable` when the runner says nothing."""
        turn = self._held(connection, command.offer)
        streamed = turn.ended.text if isinstance(turn.ended, Complete) else "".join(turn.pieces)
        text = command.text if command.text is not None else streamed
        if command.handoff is not None and command.handoff not in turn.data.handoffs:
            raise BadRequest("the turn cannot be handed to that agent", details={"handoffs": turn.data.handoffs})
        if not text and command.handoff is None:
            raise BadRequest("there is no text: decline the turn if there is nothing to say")
        end = Complete(sender=self._line.address, offer=command.offer, text=text, handoff=command.handoff)
        await self._end(turn, end)

    async def decline(self, connection: Connection, command: TurnDecline) -> None:
        """Give a turn back. Returns and raises as `complete` does."""
        turn = self._held(connection, command.offer)
        await self._end(turn, Decline(sender=self._line.address, offer=command.offer, reason=command.reason))

    def withdraw(self, turn: Turn) -> None:
        """Take a turn from a bot that may not have it any more."""
        if turn.over is None:
            self._withdraw(turn, "cancelled")
            self._line.tell(turn.sender, Dropped(offer=turn.data.offer))

    def left(self, connection: Connection) -> None:
        """The connection has ended."""
        bot = self._bots.pop(connection.id, None)
        if bot is None:
            return
        for wanted in bot.registrations:
            others = self._of_agent.get(wanted.agent, {})
            others.pop(connection.id, None)
            if not others:
                self._of_agent.pop(wanted.agent, None)
        for offer, turn in bot.turns.items():
            del self._turns[offer]
            if turn.over is None:
                self._close(turn, "lost")
                self._line.tell(turn.sender, Dropped(offer=offer))

    def held(self) -> set[tuple[SessionId, UserId]]:
        """Whose turns in which sessions stand on a membership."""
        return {
            (turn.session, turn.connection.principal.user)
            for turn in self._turns.values()
            if turn.over is None and not turn.bound
        }

    def evict(self, ended: AbstractSet[tuple[SessionId, UserId]]) -> None:
        """Memberships have ended: so have turns that stand on them."""
        for turn in list(self._turns.values()):
            if not turn.bound and (turn.session, turn.connection.principal.user) in ended:
                self.withdraw(turn)

    # ---- what runners say

    def heard(self, note: ToGateway) -> None:
        """Something came over the line."""
        match note:
            case Seek():
                self._sought(note)
            case Offer():
                self._offered(note)
            case Taken():
                if (turn := self._turns.get(note.offer)) is not None and turn.ended is not None:
                    self._close(turn, DONE)
            case Over():
                if (turn := self._turns.get(note.offer)) is not None:
                    self._withdraw(turn, note.reason)
            case Ping():
                turn = self._turns.get(note.offer)
                if turn is None or turn.over is not None:
                    self._line.tell(note.sender, Dropped(offer=note.offer))
            case _:
                assert_never(note)

    def _sought(self, seek: Seek) -> None:
        for bot in self._of_agent.get(seek.agent, {}).values():
            known = [turn for turn in bot.turns.values() if (turn.run, turn.data.agent) == (seek.run, seek.agent)]
            for turn in known:
                if _place(turn.data) < _place(seek):
                    self._withdraw(turn, "superseded")
            is_stale = any(_place(turn.data) > _place(seek) for turn in known)
            if not self.draining and not is_stale and bot.takes(seek.agent, seek.session, seek.team):
                principal = bot.connection.principal
                here = Here(
                    seek=seek.seek,
                    sender=self._line.address,
                    connection=bot.connection.id,
                    user=principal.user,
                    name=principal.name,
                    load=bot.load,
                )
                self._line.tell(seek.sender, here)

    def _offered(self, offer: Offer) -> None:
        bot = self._bots.get(offer.connection)
        if bot is not None and offer.data.offer in bot.turns:
            return
        # Since it was sought another runner may have filled its last place.
        if bot is None or not bot.takes(offer.data.agent, offer.session, offer.data.team):
            self._line.tell(offer.sender, Dropped(offer=offer.data.offer))
            return
        brief = offer.data.model_copy(update={"context": [], "prompt": "", "instructions": ""})
        turn = Turn(offer.sender, SessionId(offer.session), offer.run, brief, bot.connection, offer.bound)
        left_s = offer.data.timeout_s + OVERTIME_S
        turn.timer = self._loop.call_later(left_s, self._withdraw, turn, "timed_out")
        bot.turns[offer.data.offer] = self._turns[offer.data.offer] = turn
        bot.connection.put(live_frame(offer.data, SessionId(offer.session), RunId(offer.run)))

    # ---- parts

    def _held(self, connection: Connection, offer: str) -> Turn:
        """A turn that was not taken from this connection. Raises `NotFound` or `Conflict`."""
        turn = self.turn(connection, offer)
        self._refuse(turn)
        return turn

    def _refuse(self, turn: Turn) -> None:
        if turn.over not in (None, DONE):
            self.refused += 1
            raise Conflict(_SAID[turn.over], details={"reason": turn.over})

    async def _end(self, turn: Turn, end: Complete | Decline) -> None:
        if turn.ended not in (None, end):
            raise Conflict(_SAID[DONE], details={"reason": DONE})
        if turn.over == DONE:
            return
        turn.ended = end
        turn.done = turn.done or self._loop.create_future()
        self._line.tell(turn.sender, end, self._lost(turn))
        await asyncio.wait((turn.done,), timeout=TAKEN_S)
        self._refuse(turn)
        if turn.over is None:
            raise Unavailable("the turn's runner did not answer in time", retry_after=1)

    def _lost(self, turn: Turn) -> Callable[[], None]:
        return lambda: self._withdraw(turn, "lost")

    def _withdraw(self, turn: Turn, reason: Reason) -> None:
        if turn.over is None:
            self._close(turn, reason)
            data = TurnWithdrawnData(offer=turn.data.offer, reason=reason)
            turn.connection.put(live_frame(data, turn.session, RunId(turn.run)))

    def _close(self, turn: Turn, reason: str) -> None:
        """Nothing is taken from it any more; its bot has room for another one."""
        turn.over = reason
        turn.pieces.clear()
        if turn.timer is not None:
            turn.timer.cancel()
            turn.timer = None
        if turn.done is not None and not turn.done.done():
            turn.done.set_result(None)
        bot = self._bots.get(turn.connection.id)
        if bot is None:
            return
        ended = [offer for offer, other in bot.turns.items() if other.over is not None]
        for offer in ended[:-MAX_REMEMBERED]:
            del bot.turns[offer], self._turns[offer]
        if not self.draining and not turn.connection.closing and bot.load + 1 in bot.registrations.values():
            self._line.shout(Ready(agent=turn.data.agent))


def _place(of: TurnOfferedData | Seek) -> tuple[int, int, int]:
    """Grows with every attempt at a run, its turns, and every offer of one."""
    return of.attempt, of.turn, of.retry
