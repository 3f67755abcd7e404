"""The hub's own times, from the histograms on `/metrics` of every worker."""

import asyncio
import re
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

NAMES = {
    "hub_ack_seconds": "ack",
    "hub_engine_to_socket_seconds": "token",
    "hub_event_loop_late_seconds": "loop",
    "hub_database_wait_seconds": "connection",
}
ATTEMPTS = 200  # the system chooses which worker takes a connection

_BUCKET = re.compile(r'^(\w+)_bucket\{le="([^"]+)",node="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class HubTimes:
    """Counts up to each bound, of all workers together, by name."""

    counts: dict[str, Counter[float]]

    def since(self, before: "HubTimes") -> dict[str, Counter[float]]:
        """What was counted between the two."""
        return {name: counts - before.counts[name] for name, counts in self.counts.items()}


def percentile(counts: Counter[float], share: float) -> float:
    """The seconds that this share does not exceed: the bound of its bucket; NaN when nothing was counted."""
    total = max(counts.values(), default=0)
    return next((bound for bound in sorted(counts) if total and counts[bound] >= share * total), float("nan"))


def at_most_ms(counts: Counter[float]) -> dict[str, float]:
    """p50, p95 and p99, each rounded up to the bound of its bucket, in milliseconds."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {f"{name} ≤": round(percentile(counts, share) * 1e3, 1) for name, share in shares.items()}


async def read(url: str, nodes: Iterable[str]) -> HubTimes:
    """What these workers have counted so far. Raises RuntimeError when one of them does not answer."""
    return await asyncio.to_thread(_read, url.rstrip("/"), set(nodes))


def _read(url: str, missing: set[str]) -> HubTimes:
    counts = {name: Counter[float]() for name in NAMES.values()}
    for _ in range(ATTEMPTS):
        if not missing:
            return HubTimes(counts)
        with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
            found = _BUCKET.findall(answer.read().decode())
        answered = missing & {node for _, _, node, _ in found}
        for metric, bound, node, count in found:
            if metric in NAMES and node in answered:
                counts[NAMES[metric]][float(bound)] += int(float(count))
        missing -= answered
    raise RuntimeError(f"no metrics from {', '.join(missing)}")
