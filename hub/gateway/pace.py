"""The rate limit of one connection."""

PLACE_RETRY_S = 5.0  # where something of the connection's own has to be given up first: any time would do


class Pace:
    """A leaky bucket by arrival times (GCRA): `per_minute` in the long run, `burst` at once. Times are in seconds."""

    __slots__ = ("_interval", "_next", "_slack")

    def __init__(self, per_minute: int, burst: int) -> None:
        self._interval = 60 / per_minute
        self._slack = self._interval * (burst - 1)
        self._next = 0.0  # when the bucket is empty again

    def take(self, now: float) -> float:
        """Count one arrival at `now`: 0 when it is within the limit, else after how long one will be."""
        due = max(self._next, now)
        if due - now > self._slack + 1e-9:  # floating point: the last one of a burst is within it
            return due - now - self._slack
        self._next = due + self._interval
        return 0.0
