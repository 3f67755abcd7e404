"""When to come back after a connection ended: the close code's range is the instruction, jitter spreads the crowd."""

import random
from collections.abc import Callable
from enum import Enum

from hub.protocol.close import Close

FIRST_STEP_S = 0.5
LONGEST_S = 20.0
DRAIN_SPREAD_S = 5.0  # a draining or restarting hub gets its clients back spread over this time


class Advice(Enum):
    """What a client does after its connection ended."""

    AGAIN = "again"
    AFTER_DRAIN = "after drain"
    AFTER_BACKING_OFF = "after backing off"
    WITH_NEW_CREDENTIAL = "with a new credential"
    STOP = "stop"


def advice(close_code: int | None) -> Advice:
    """What a close code tells a client. None is a connection that broke without one."""
    match close_code:
        case None | Close.NORMAL | Close.GOING_AWAY:
            return Advice.AGAIN  # this side did not ask for the end, so it was not the end
        case Close.RESTARTING | Close.DRAINING:
            return Advice.AFTER_DRAIN
        case Close.CREDENTIAL_ENDED:
            return Advice.WITH_NEW_CREDENTIAL
        case Close.POLICY | Close.TOO_LARGE:
            return Advice.STOP
        case _ if 4000 <= close_code < 4100:
            return Advice.AGAIN
        case _ if 4100 <= close_code < 4500:
            return Advice.AFTER_BACKING_OFF
        case _ if 4500 <= close_code < 5000:
            return Advice.STOP
        case _:
            return Advice.AGAIN


class Backoff:
    """Full jitter: the n-th attempt in a row waits between 0 and min(20 s, 0.5 s · 2ⁿ)."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._failures = 0

    def delay(self, what: Advice, drain_spread_s: float = DRAIN_SPREAD_S) -> float:
        """Seconds to wait before the next attempt."""
        ceiling = min(LONGEST_S, FIRST_STEP_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        match what:
            case Advice.AFTER_DRAIN:
                return self._uniform(0, max(ceiling, drain_spread_s) if self._failures > 1 else drain_spread_s)
            case Advice.AFTER_BACKING_OFF:
                return self._uniform(ceiling / 2, min(LONGEST_S, 2 * ceiling) + 1)
            case _:
                return self._uniform(0, ceiling)

    def succeeded(self) -> None:
        """The connection was good: the next failure is a first one."""
        self._failures = 0
