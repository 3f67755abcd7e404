"""Rate limits that hold across all workers."""

from dataclasses import dataclass
from typing import Literal, cast

from hub.domain.errors import Unavailable
from hub.relay import keys, scripts
from hub.relay.connection import Redis


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_s` is how long until the same would be allowed; 0 when it is."""

    allowed: bool
    retry_after_s: float


class Limits:
    """So many units per minute, and a burst of them at once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take = scripts.load("limit")

    async def take(
        self, name: str, *, per_minute: float, burst: int, cost: int = 1, when_down: Literal["allow", "refuse"]
    ) -> Verdict:
        """Takes `cost` (at most `burst`) units of the limit `name`, or none of them. Never raises: `when_down` is the
        verdict while Redis is away."""
        interval_us = 60_000_000 / per_minute
        try:
            reply = await self._redis.script(
                self._take, [keys.limit(name)], [f"{interval_us:.0f}", burst, min(cost, burst)]
            )
        except Unavailable:
            return Verdict(when_down == "allow", 0.0 if when_down == "allow" else 1.0)
        wait_us, _ = cast(list[int], reply)
        return Verdict(wait_us == 0, wait_us / 1_000_000)
