"""Metrics of one worker, in Prometheus' text format."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, generate_latest


class Metrics:
    """Reads its gauges when it is scraped: nothing is counted on the hot path."""

    def __init__(self, node: str, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """`gauges`: name → (help, function that reads the present value)."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        for name, (help_, read) in gauges.items():
            gauge = Gauge(name, help_, ["node"], registry=self._registry)
            gauge.labels(node=node).set_function(read)

    def text(self) -> bytes:
        """What `GET /metrics` answers."""
        return generate_latest(self._registry)
