"""How long things take, counted in buckets."""

from bisect import bisect_left

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)


class Times:
    """A histogram of seconds: one bucket up to each of `BOUNDS_S`, and one for what is longer. For one event loop: it
    takes no lock, unlike those of prometheus_client."""

    __slots__ = ("_counts", "total_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Something took so long."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """How many took up to each bound, as Prometheus counts: each bucket holds those before it."""
        names = [*map(str, BOUNDS_S), "+Inf"]
        return [(name, sum(self._counts[: i + 1])) for i, name in enumerate(names)]
