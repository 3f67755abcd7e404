"""How much each caller may ask of all workers together, decided without waiting.

Every worker counts for itself and tells Redis, which counts for all; what Redis answers corrects the worker's count. So
a request costs no round trip, and a caller who spreads over several workers gets beyond the limit what is under way to
Redis, usually one request per worker. While Redis is away each worker holds the limit alone.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from hub.relay import keys, scripts
from hub.relay.pipeline import Pipeline
from hub.relay.wire import Reply

MAX_KNOWN = 20_000  # callers; who was not seen for longest is forgotten, and remembered by Redis


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` requests at once, `per_minute` in the long run. `name` tells allowances apart."""

    name: str
    per_minute: int
    burst: int

    @property
    def interval_s(self) -> float:
        """How long one request takes of the long run."""
        return 60 / self.per_minute


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands after a request. `remaining` of `allowance.burst` may follow at once, all of it after
    `reset_s`; `retry_after_s` is 0 when the request was allowed."""

    allowance: Allowance
    remaining: int
    reset_s: float
    retry_after_s: float


class _Count:
    __slots__ = ("refused_until", "unused_at")

    def __init__(self) -> None:
        self.unused_at = 0.0
        self.refused_until = 0.0  # by the count of all workers


class _New:
    __slots__ = ("allowance", "asked_at", "count", "requests")

    def __init__(self, allowance: Allowance, count: _Count) -> None:
        self.allowance = allowance
        self.count = count
        self.requests = 0
        self.asked_at = 0.0


class Allowances:
    """The counts of this worker. Nothing here waits or raises."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._script = scripts.load("allowance")
        self._new: dict[tuple[str, str], _New] = {}  # that Redis has not been told of
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def take(self, allowance: Allowance, caller: str) -> Standing:
        """Count one request of the caller, unless it is too much."""
        count = self._count(allowance.name, caller)
        now, interval = time.monotonic(), allowance.interval_s
        used = max(count.unused_at - now, 0.0)
        # Floating point: the last one of a burst is within it.
        wait = max(used - interval * (allowance.burst - 1) - 1e-9, count.refused_until - now, 0.0)
        if not wait:
            used += interval
            count.unused_at = now + used
            self._tell_soon(allowance, caller, count, now)
        return Standing(allowance, max(0, int(allowance.burst - used / interval + 1e-6)), used, wait)

    def _tell_soon(self, allowance: Allowance, caller: str, count: _Count, now: float) -> None:
        new = self._new.get((allowance.name, caller))
        if new is None:
            if not self._new:
                self._pipeline.before_flush(self._tell)
            new = self._new[allowance.name, caller] = _New(allowance, count)
        new.requests += 1
        new.asked_at = now

    def _tell(self) -> None:
        """All that came since the last time, a caller's requests together."""
        told, self._new = self._new, {}
        for (name, caller), new in told.items():
            words = (b"%.0f" % (new.allowance.interval_s * 1e6), b"%d" % new.allowance.burst, b"%d" % new.requests)
            on_reply = partial(self._counted, new.count, new.asked_at)
            self._pipeline.script(self._script, (keys.limit(f"{name}:{caller}"),), words, on_reply)

    def _counted(self, count: _Count, asked_at: float, reply: Reply) -> None:
        """What all workers have counted, if Redis was there to tell. Redis counted somewhat later than it was asked: by
        this clock nobody is refused for how long its answer took."""
        if isinstance(reply, list):
            wait_us, used_us = reply
            count.unused_at = max(count.unused_at, asked_at + used_us / 1e6)
            count.refused_until = asked_at + wait_us / 1e6

    def _count(self, name: str, caller: str) -> _Count:
        count = self._counts.get((name, caller))
        if count is None:
            count = self._counts[name, caller] = _Count()
            if len(self._counts) > MAX_KNOWN:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end((name, caller))
        return count
