"""What people and organisations hold at all workers together, of that of which each may have only so many."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import hiredis

from hub.relay import keys, scripts
from hub.relay.pipeline import Pipeline
from hub.relay.wire import Reply, encode

LIFE_S = 15.0  # of a worker that says nothing: then what it held is free
BEAT_S = 5.0
REWRITE_S = 600.0
HASH_LIFE_S = 1_800.0
ANSWER_S = 1.0  # that somebody waits for Redis; then this worker's own count decides
PER_WRITE = 200  # holders per command
FORMER = 4  # names that may still live: one that is not used any more lives for LIFE_S

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cap:
    """`holder` may hold `most`. `holder` names what is held, too."""

    holder: str
    most: int


class Exceeded(Exception):
    """The holder has as many as may be."""

    def __init__(self, cap: Cap) -> None:
        super().__init__(f"{cap.holder} holds {cap.most}")
        self.cap = cap


class Held:
    """One thing that is held. `release` it once it is not; more often does no harm."""

    __slots__ = ("_exceeded", "_holdings", "_is_answered", "_then", "_unanswered", "caps")

    def __init__(self, holdings: "Holdings", caps: Sequence[Cap]) -> None:
        self._holdings = holdings
        self.caps = caps  # none when it is not held any more
        self._unanswered = len(caps)
        self._is_answered = False
        self._exceeded: Cap | None = None
        self._then: Callable[[Cap | None], None] | None = None

    def when_answered(self, then: Callable[[Cap | None], None]) -> None:
        """Calls `then` once, perhaps at once: with None when it counts at all workers, or when they could not be asked
        within a second; with the cap of which it is one too many, and it is not held any more then."""
        if self._is_answered:
            then(self._exceeded)
        else:
            self._then = then
            self._holdings.wait_for(self)

    async def confirm(self) -> None:
        """Returns when it counts, as `when_answered` says. Raises `Exceeded` when it is one too many."""
        answer: asyncio.Future[Cap | None] = asyncio.get_running_loop().create_future()
        self.when_answered(lambda exceeded: None if answer.done() else answer.set_result(exceeded))
        if (exceeded := await answer) is not None:
            raise Exceeded(exceeded)

    def release(self) -> None:
        """It is not held any more."""
        caps, self.caps = self.caps, ()
        self._holdings.give_back(caps)

    def answered(self, exceeded: Cap | None) -> None:
        """What Redis says about one of the caps; too late once nobody waits for it."""
        self._unanswered -= 1
        if self._is_answered:
            if exceeded is not None and self.caps:
                self._holdings.stands(exceeded)
        elif exceeded is not None:
            self.release()
            self._decide(exceeded)
        elif not self._unanswered:
            self._decide(None)

    def give_up(self) -> None:
        """They could not be asked in time."""
        if not self._is_answered:
            self._decide(None)

    def _decide(self, exceeded: Cap | None) -> None:
        self._is_answered = True
        self._exceeded = exceeded
        then, self._then = self._then, None
        if then is not None:
            then(exceeded)


@dataclass(slots=True)
class _Here:
    cap: Cap
    count: int = 0
    new: list[Held] = field(default_factory=list)


class Holdings:
    """The counts of this worker, and through Redis those of all. Every change leaves with what leaves for Redis anyway.

    Of those who come at once, at whichever workers, no more get in than may. What a worker held that has died is free
    15 s later. While Redis is away each worker counts alone; what it has let in then stays. Within two beats of its
    return Redis has the truth again.
    """

    def __init__(
        self, pipeline: Pipeline, *, life_s: float = LIFE_S, beat_s: float = BEAT_S, rewrite_s: float = REWRITE_S
    ) -> None:
        self._pipeline = pipeline
        self._worker = _name()
        self._is_introduced = False  # Redis has been told this name
        self._former = deque[bytes](maxlen=FORMER)
        self._life_ms = b"%d" % int(life_s * 1000)
        self._hash_life_ms = b"%d" % int(HASH_LIFE_S * 1000)
        self._beat_s = beat_s
        self._rewrite_s = rewrite_s
        self._script = scripts.load("held")
        self._here: dict[str, _Here] = {}
        self._changed: dict[str, Cap] = {}
        self._waiting = deque[tuple[float, Held]]()  # for an answer, and until when
        self.refused = False  # Redis answers, and takes nothing: it is a replica, or full, or the hub may not
        self._is_unknown = False  # Redis has forgotten this worker, or what it was told is not known to have arrived

    def take(self, caps: Sequence[Cap]) -> Held:
        """One more of each of these caps, of which there is at least one. Raises `Exceeded` when this worker alone has
        as many."""
        for cap in caps:
            here = self._here.get(cap.holder)
            if here is not None and here.count >= cap.most:
                raise Exceeded(cap)
        found: list[_Here] = []
        for cap in caps:
            if (here := self._here.get(cap.holder)) is None:
                here = self._here[cap.holder] = _Here(cap)
            found.append(here)
        held = Held(self, tuple(here.cap for here in found))  # the same objects for all that is held of them
        for here in found:
            here.count += 1
            here.new.append(held)
            self._tell_soon(here.cap)
        return held

    def give_back(self, caps: Sequence[Cap]) -> None:
        """One less of each."""
        for cap in caps:
            here = self._here[cap.holder]
            here.count -= 1
            if not here.count:
                del self._here[cap.holder]
            self._tell_soon(cap)

    def wait_for(self, held: Held) -> None:
        """Give up waiting for what is said about this one after a second. One timer serves all."""
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + ANSWER_S, held))
        if len(self._waiting) == 1:
            loop.call_later(ANSWER_S, self._give_up)

    def _give_up(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, now = self._waiting, loop.time() + 0.001  # timers are as exact as that
        due: list[Held] = []
        while waiting and waiting[0][0] <= now:
            due.append(waiting.popleft()[1])
        if waiting:
            loop.call_later(waiting[0][0] - now, self._give_up)
        for held in due:
            held.give_up()

    def stands(self, cap: Cap) -> None:
        """One that Redis did not count has been let in all the same: it is told again, with those it counts."""
        self._tell_soon(cap)

    async def run(self) -> None:
        """Says that this worker lives, for ever; and now and then again what it holds, for Redis may have lost it."""
        loop = asyncio.get_running_loop()
        rewrite_at = loop.time() + self._rewrite_s
        while True:
            await asyncio.sleep(self._beat_s)
            if not self._pipeline.connected:
                continue
            if self._is_unknown:
                self._is_unknown = False
                self._take_new_name()
                rewrite_at = 0.0
            self._write(())
            if loop.time() >= rewrite_at:
                rewrite_at = loop.time() + self._rewrite_s
                await self._rewrite()

    def _take_new_name(self) -> None:
        """What stands under the old one is not known: also what was given back while Redis was away, of which this
        worker has forgotten whose it was."""
        self._former.append(self._worker)
        self._worker = _name()
        self._is_introduced = False

    async def _rewrite(self) -> None:
        """Say all of it again; then nothing stands under former names."""
        caps = [here.cap for here in self._here.values()]
        for i in range(0, len(caps), PER_WRITE):
            self._write(caps[i : i + PER_WRITE])
            await asyncio.sleep(0)  # others have their turn
        if former := tuple(self._former):
            self._pipeline.submit(encode(b"ZREM", keys.WORKERS, *former), partial(self._forgotten, former))

    def _forgotten(self, former: Sequence[bytes], reply: Reply) -> None:
        if not isinstance(reply, int):
            self._is_unknown = True
            return
        for name in former:
            if name in self._former:
                self._former.remove(name)

    def _tell_soon(self, cap: Cap) -> None:
        is_first = not self._changed
        self._changed[cap.holder] = cap
        if is_first:
            self._pipeline.before_flush(self._tell)

    def _tell(self) -> None:
        caps = list(self._changed.values())
        self._changed.clear()
        for i in range(0, len(caps), PER_WRITE):
            self._write(caps[i : i + PER_WRITE])

    def _write(self, caps: Sequence[Cap]) -> None:
        words = [self._worker, self._life_ms, self._hash_life_ms, b",".join(self._former)]
        asked: list[tuple[Cap, list[Held]]] = []
        for cap in caps:
            count, new = 0, []
            if (here := self._here.get(cap.holder)) is not None:
                count, new = here.count, [held for held in here.new if held.caps]
                here.new.clear()
            words += (b"%d" % count, b"%d" % len(new), b"%d" % cap.most)
            asked.append((cap, new))
        names = [keys.WORKERS, *(keys.held(cap.holder) for cap in caps)]
        was_introduced, self._is_introduced = self._is_introduced, True
        self._pipeline.script(self._script, names, words, partial(self._told, asked, was_introduced))

    def _told(self, asked: Sequence[tuple[Cap, Sequence[Held]]], was_introduced: bool, reply: Reply) -> None:
        self._note_refusal(reply)
        if isinstance(reply, list):
            is_known, *too_many = reply
            self._is_unknown = self._is_unknown or (was_introduced and not is_known)
        else:
            self._is_unknown = True
            too_many = [0] * len(asked)
        for (cap, new), surplus in zip(asked, too_many, strict=True):
            for number, held in enumerate(new):
                held.answered(cap if number >= len(new) - surplus else None)

    def _note_refusal(self, reply: Reply) -> None:
        """The beat writes like everything else of the hub, so it is the first to be told."""
        was_refused = self.refused
        if isinstance(reply, hiredis.ReplyError):
            self.refused = True
            if not was_refused:
                logger.warning("Redis takes nothing from the hub: %s", reply)
        elif isinstance(reply, list):
            self.refused = False


def _name() -> bytes:
    return os.urandom(8).hex().encode()
