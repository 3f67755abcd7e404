"""What users measured and counted: histograms and a ledger that can be added up over processes."""

import math
from collections import Counter, defaultdict
from typing import Any

_STEP = math.log(1.02)  # a percentile is at most 2 % above the value it stands for
_FLOOR_S = 1e-5


class Histogram:
    """Times in seconds, counted in buckets of 2 %."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, seconds: float) -> None:
        """Count one; what is below 10 us counts as 10 us."""
        self.counts[math.ceil(math.log(max(seconds, _FLOOR_S) / _FLOOR_S) / _STEP)] += 1

    def percentile(self, share: float) -> float:
        """The seconds that this share does not exceed, rounded up to its bucket; NaN when nothing was counted."""
        wanted, seen = share * self.counts.total(), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return _FLOOR_S * math.exp(bucket * _STEP)
        return math.nan


class Tally:
    """All of one process, or of several when merged. `ledger` counts what happened, `anomalies` what never may."""

    def __init__(self) -> None:
        self.times: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.ledger: Counter[str] = Counter()
        self.anomalies: Counter[str] = Counter()

    def take(self) -> dict[str, Any]:
        """Everything so far, in a form that goes through a message; what is left is empty."""
        taken = {
            "times": {name: list(histogram.counts.items()) for name, histogram in self.times.items()},
            "ledger": dict(self.ledger),
            "anomalies": dict(self.anomalies),
        }
        self.times.clear()
        self.ledger.clear()
        self.anomalies.clear()
        return taken

    def merge(self, taken: dict[str, Any]) -> None:
        """Add what `take` gave in another process."""
        for name, counts in taken["times"].items():
            self.times[name].counts.update({int(bucket): count for bucket, count in counts})
        self.ledger.update(taken["ledger"])
        self.anomalies.update(taken["anomalies"])

    def report(self) -> str:
        """As text for people: times, ledger, anomalies."""
        lines = [f"{'milliseconds':<16}{'count':>10}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}"]
        for name, histogram in sorted(self.times.items()):
            shares = "".join(f"{histogram.percentile(share) * 1e3:>10.1f}" for share in (0.5, 0.95, 0.99, 1.0))
            lines.append(f"{name:<16}{histogram.counts.total():>10}{shares}")
        lines.append("ledger: " + (", ".join(f"{name} {n}" for name, n in sorted(self.ledger.items())) or "empty"))
        lines.append("anomalies: " + (", ".join(f"{name} {n}" for name, n in self.anomalies.items()) or "none"))
        return "\n".join(lines)
