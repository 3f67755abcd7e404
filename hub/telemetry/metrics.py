"""Metrics of one worker, in Prometheus' text format."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.telemetry.times import Times

Labelled: TypeAlias = tuple[str, Sequence[str], Callable[[], Mapping[tuple[str, ...], float]]]


class Metrics:
    """Reads its gauges and counters when it is scraped."""

    def __init__(
        self,
        node: str,
        gauges: Mapping[str, tuple[str, Callable[[], float]]],
        counters: Mapping[str, tuple[str, Callable[[], float]]],
        histograms: Mapping[str, tuple[str, Times]],
        labelled: Mapping[str, Labelled],
    ) -> None:
        """`gauges`: name → (help, function that reads the present value); `counters`, without their `_total`: the
        same; `histograms`: name → (help, seconds); `labelled` are counters: name → (help, names of their labels,
        function that reads the values by their labels)."""
        self._registry = CollectorRegistry()
        self._registry.register(_Named(node, ProcessCollector(registry=None), PlatformCollector(registry=None)))
        for name, (help_, read) in gauges.items():
            gauge = Gauge(name, help_, ["node"], registry=self._registry)
            gauge.labels(node=node).set_function(read)
        self._registry.register(_Counters(node, counters))
        self._registry.register(_Histograms(node, histograms))
        self._registry.register(_Labelled(node, labelled))

    def text(self) -> bytes:
        """What this worker has to tell at `GET /metrics`."""
        return generate_latest(self._registry)


class _Named(Collector):
    """What the library tells of a process, told apart from other processes of the host."""

    def __init__(self, node: str, *collectors: Collector) -> None:
        self._node = node
        self._collectors = collectors

    def collect(self) -> Iterable[Metric]:
        for collector in self._collectors:
            for family in collector.collect():
                samples = family.samples
                family.samples = [sample._replace(labels={"node": self._node, **sample.labels}) for sample in samples]
                yield family


class _Counters(Collector):
    def __init__(self, node: str, counters: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._node = node
        self._counters = counters

    def collect(self) -> Iterable[CounterMetricFamily]:
        for name, (help_, read) in self._counters.items():
            family = CounterMetricFamily(name, help_, labels=["node"])
            family.add_metric([self._node], read())
            yield family


class _Labelled(Collector):
    def __init__(self, node: str, counters: Mapping[str, Labelled]) -> None:
        self._node = node
        self._counters = counters

    def collect(self) -> Iterable[CounterMetricFamily]:
        for name, (help_, labels, read) in self._counters.items():
            family = CounterMetricFamily(name, help_, labels=["node", *labels])
            for values, value in read().items():
                family.add_metric([self._node, *values], value)
            yield family


class _Histograms(Collector):
    def __init__(self, node: str, histograms: Mapping[str, tuple[str, Times]]) -> None:
        self._node = node
        self._histograms = histograms

    def collect(self) -> Iterable[HistogramMetricFamily]:
        for name, (help_, times) in self._histograms.items():
            family = HistogramMetricFamily(name, help_, labels=["node"])
            family.add_metric([self._node], times.buckets(), times.total_s)
            yield family
