"""Turns that programs speak: sought over the relay, offered, heard, and taken back from who falls silent.

A turn is in one connection's hands at a time. Who does not begin it, falls silent, declines or is lost, loses it: it is
offered to another connection of the same agent, as long as there is time.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import assert_never

from hub.domain.attachment import Attachment
from hub.domain.errors import Unavailable
from hub.domain.ids import AttachmentId, SessionId, UserId, new_id
from hub.domain.team import AgentSpec, Seat
from hub.engine.attached import DescribeIn, named_in
from hub.engine.base import Failure, TurnRequest
from hub.engine.hearing import Hearing, Search, set_within
from hub.engine.models.errors import ModelError
from hub.protocol.live import HeardAttachment, HeardData, TurnOfferedData
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
    ToRunner,
)

GATHER_S = 0.005  # after the first answer, for others that are less busy
LATE_S = 1.0  # for another one when somebody has lost the turn already: it may be further away, or busy
SEEK_AGAIN_S = 1.0
PING_S = 2.0  # so late a worker is missed that is gone without a word
MAX_OFFERS = 20  # of one turn

Permitted = Callable[[SessionId, Collection[UserId]], Awaitable[Collection[UserId]]]
"""Those of these users whose bots may speak in a session that names nobody. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class BotTurn:
    """A turn of `agent`, which has a seat: what it has heard, and whom it may hand over to."""

    request: TurnRequest
    agent: AgentSpec
    context: tuple[HeardData, ...]
    handoffs: tuple[str, ...]

    @property
    def seat(self) -> Seat:
        assert self.agent.seat is not None
        return self.agent.seat


@dataclass(frozen=True, slots=True)
class Spoken:
    """The next piece of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class Void:
    """The pieces so far do not count: another connection begins anew."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The whole text, and whom the agent hands over to."""

    text: str
    handoff: str | None


class Bots:
    """The turns of this worker's runs that bots are to speak."""

    def __init__(self, line: BotLine, permitted: Permitted, describe: DescribeIn) -> None:
        self._line = line
        self._permitted = permitted
        self._describe = describe
        self._searches: dict[str, Search] = {}
        self._hearings: dict[str, Hearing] = {}

    async def context(self, session: SessionId, said: Sequence[HeardData]) -> tuple[HeardData, ...]:
        """What an agent has heard, with what is attached to it. When the database is away it has the words alone, which
        name it."""
        named = [named_in(heard.text) if heard.kind == "user" else [] for heard in said]
        wanted = list(dict.fromkeys(id_ for ids in named for id_ in ids))
        found: Mapping[AttachmentId, Attachment] = {}
        if wanted:
            with suppress(Unavailable):
                found = await self._describe(session, wanted)
        return tuple(
            _with(heard, [found[id_] for id_ in ids if id_ in found]) for heard, ids in zip(said, named, strict=True)
        )

    def heard(self, note: ToRunner) -> None:
        """Something came over the line."""
        match note:
            case Ready():
                for search in self._searches.values():
                    if search.agent == note.agent:
                        search.changed.set()
            case Here():
                if (search_ := self._searches.get(note.seek)) is not None:
                    search_.found[note.connection] = note
                    search_.changed.set()
            case Delta():
                if (hearing := self._awaiting(note)) is not None:
                    hearing.take(note)
            case Complete() | Decline():
                if (hearing := self._awaiting(note)) is not None:
                    hearing.end(note)
                    self._line.tell(note.sender, Taken(offer=note.offer))
            case Dropped():
                if (hearing := self._hearings.get(note.offer)) is not None:
                    hearing.end(note)
            case _:
                assert_never(note)

    async def speak(self, turn: BotTurn) -> AsyncGenerator[Spoken | Void | Ended, None]:
        """What a bot says, to its end. Raises ModelError when nobody has spoken the turn in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (turn.seat.timeout_s or turn.request.timeout_s)
        tried = set[str]()
        failure, shown = Failure.BOT_UNAVAILABLE, False
        for retry in range(MAX_OFFERS):
            until = min(deadline, loop.time() + turn.seat.accept_s)
            found = await self._find(turn, retry, tried, until)
            if found is None:
                break
            if shown:
                shown = False
                yield Void()
            hearing = Hearing(loop.time())
            async with aclosing(self._hear(turn, retry, found, hearing, deadline)) as pieces:
                async for text in pieces:
                    shown = True
                    yield Spoken(text)
            match hearing.ended:
                case Complete(text=text, handoff=handoff):
                    yield Ended(text, handoff)
                    return
                case Dropped():
                    failure = Failure.BOT_UNAVAILABLE
                case Decline():
                    failure = Failure.BOT_DECLINED
                    tried.add(found.connection)
                case "silent":
                    failure = Failure.BOT_STALLED
                    tried.add(found.connection)
                case "timed_out":
                    raise ModelError(Failure.BOT_TIMEOUT, f"{turn.agent.name} took longer than its seat allows")
                case _:
                    failure = Failure.BOT_UNAVAILABLE
                    tried.add(found.connection)
        raise ModelError(failure, f"nobody has spoken the turn of {turn.agent.name}")

    def _awaiting(self, note: Delta | Complete | Decline) -> Hearing | None:
        hearing = self._hearings.get(note.offer)
        if hearing is None:
            self._line.tell(note.sender, Over(offer=note.offer, reason="superseded"))
        return hearing

    # ---- seeking

    async def _find(self, turn: BotTurn, retry: int, tried: set[str], until: float) -> Here | None:
        """Who is to have the turn. None when everybody who is here has lost it before, or when nobody comes."""
        request, loop = turn.request, asyncio.get_running_loop()
        note = Seek(
            seek=new_id(),
            sender=self._line.address,
            session=request.session,
            team=request.team.name,
            agent=turn.agent.name,
            run=request.run,
            turn=request.turn,
            attempt=request.attempt,
            retry=retry,
        )
        search = self._searches[note.seek] = Search(turn.agent.name)
        try:
            while True:
                search.found.clear()
                search.changed.clear()
                self._line.shout(note)
                left = until - loop.time()
                if left <= 0:
                    return None
                if not await set_within(search.changed, min(left, SEEK_AGAIN_S)) or not search.found:
                    continue
                late = loop.time() + LATE_S
                while not (fresh := search.untried(tried)) and (left := late - loop.time()) > 0:
                    search.changed.clear()
                    await set_within(search.changed, left)
                await asyncio.sleep(GATHER_S)
                fresh = search.untried(tried)
                if tried and not fresh:
                    return None
                if (chosen := await self._choose(turn, fresh)) is not None:
                    return chosen
                await asyncio.sleep(min(max(0, until - loop.time()), SEEK_AGAIN_S))  # they may be let in meanwhile
        finally:
            del self._searches[note.seek]

    async def _choose(self, turn: BotTurn, found: Sequence[Here]) -> Here | None:
        """The least busy of those who may speak in this session, as it is now."""
        if turn.seat.user is not None:
            allowed = [here for here in found if here.name == turn.seat.user]
        else:
            try:
                users = await self._permitted(turn.request.session, {UserId(here.user) for here in found})
            except Unavailable:
                return None
            allowed = [here for here in found if here.user in users]
        return min(allowed, key=lambda here: (here.load, random.random()), default=None)  # noqa: S311 (evens out)

    # ---- hearing

    async def _hear(
        self, turn: BotTurn, retry: int, found: Here, hearing: Hearing, deadline: float
    ) -> AsyncGenerator[str, None]:
        """Offer the turn to a connection and give its words as they come; `hearing.ended` tells how that ended."""
        loop, seat, offer = asyncio.get_running_loop(), turn.seat, new_id()
        withdrawn: Reason | None = "cancelled"
        self._hearings[offer] = hearing
        self._line.tell(found.sender, self._offer(turn, retry, found, offer, deadline - loop.time()), hearing.drop)
        try:
            while True:
                if text := hearing.text():
                    yield text
                    continue
                if hearing.ended is not None:
                    withdrawn = None
                    return
                limit = hearing.heard_at + (seat.silence_s if hearing.began else seat.accept_s)
                left = min(deadline, limit) - loop.time()
                if left <= 0:
                    withdrawn = "timed_out" if limit > deadline else "silent" if hearing.began else "not_accepted"
                    hearing.ended = withdrawn
                    return
                hearing.changed.clear()
                if not await set_within(hearing.changed, min(left, PING_S)):
                    self._line.tell(found.sender, Ping(sender=self._line.address, offer=offer), hearing.drop)
        finally:
            del self._hearings[offer]
            if withdrawn is not None:
                self._line.tell(found.sender, Over(offer=offer, reason=withdrawn))

    def _offer(self, turn: BotTurn, retry: int, found: Here, offer: str, left_s: float) -> Offer:
        request, seat = turn.request, turn.seat
        data = TurnOfferedData(
            offer=offer,
            agent=turn.agent.name,
            team=request.team.name,
            turn=request.turn,
            attempt=request.attempt,
            retry=retry,
            instructions=turn.agent.instructions,
            prompt=request.prompt,
            context=list(turn.context),
            handoffs=list(turn.handoffs),
            accept_s=seat.accept_s,
            silence_s=seat.silence_s,
            timeout_s=round(left_s, 3),
        )
        return Offer(
            sender=self._line.address,
            connection=found.connection,
            session=request.session,
            run=request.run,
            bound=seat.user is not None,
            data=data,
        )


def _with(heard: HeardData, attachments: Sequence[Attachment]) -> HeardData:
    if not attachments:
        return heard
    described = [
        HeardAttachment(id=one.id, name=one.name, media_type=one.media_type, size=one.size, sha256=one.sha256.hex())
        for one in attachments
    ]
    return heard.model_copy(update={"attachments": described})
