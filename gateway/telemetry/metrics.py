"""Metrics of the gateway, in a Prometheus registry of their own.

Labels are bounded: models and versions are those that are served, everything else is "other".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.finished import Finished
from gateway.refusal import Code
from gateway.telemetry.series import Series
from gateway.upstream import ServedVersion
from torchkeep import __version__

OTHER = "other"
LABELS = ("model", "version", "operation", "verdict", "code")

Labels = tuple[str, str, str, str, str]
Key = tuple[str, str, str, str, Code]


class Metrics:
    """Counts finished requests; `exposition` may run in another thread than `count`."""

    def __init__(
        self, served: Iterable[ServedVersion], records_lost: Callable[[], int] = int
    ) -> None:
        """Count for these versions; `records_lost` tells what the access log could not write."""
        self._requests = _Requests(served)
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self.watch(self._requests)
        self.watch(_Process(records_lost))

    def watch(self, collector: Collector) -> None:
        """Read that, too, whenever the metrics are read: `Gauges`, `GpuMetrics`."""
        self._registry.register(collector)

    def count(self, request: Finished) -> None:
        """Count a request that has its terminal status."""
        self._requests.count(request)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type: OpenMetrics if that is accepted, else text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Requests(Collector):
    """A series for each set of labels that there was."""

    def __init__(self, served: Iterable[ServedVersion]) -> None:
        self._served = {(version.name, version.version) for version in served}
        self._names = {name for name, _ in self._served}
        self._series: dict[Labels, Series] = {}
        self._known: dict[Key, Series] = {}  # the same, found without making labels

    def count(self, request: Finished) -> None:
        arrival = request.arrival
        version = request.version or arrival.version
        key = (arrival.model, version, arrival.operation or "", request.verdict, request.code)
        series = self._known.get(key)
        if series is None:
            series = self._find(key)
        series.count(request)

    def _find(self, key: Key) -> Series:
        """The series of labels that are new, or of names that only a caller knows."""
        model, version, operation, verdict, code = key
        is_ours = (model, version) in self._served
        if version and not is_ours:
            version = OTHER
        if model and model not in self._names:
            model, version = OTHER, OTHER
        # some codes differ in HTTP only: they share a series
        series = self._series.setdefault(
            (model, version, operation, verdict, code.grpc.name), Series()
        )
        if is_ours:
            self._known[key] = series
        return series

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "torchkeep_requests", "Requests that got their terminal status", labels=LABELS
        )
        items = CounterMetricFamily(
            "torchkeep_items", "Items that were answered with a prediction", labels=LABELS
        )
        total = _histogram("torchkeep_request_seconds", "Time of a request, from its first byte")
        queue = _histogram("torchkeep_queue_seconds", "Time a request waited for its call")
        backend = _histogram("torchkeep_backend_seconds", "Time of a request's call to TorchServe")
        batch = _histogram("torchkeep_batch_size", "Items of the call that held a request's items")
        for labels, series in list(self._series.items()):
            requests.add_metric(labels, series.requests)
            if labels[2]:  # an operation: the others have no items and no times
                items.add_metric(labels, series.items)
            series.total.add_to(total, labels)
            series.queue.add_to(queue, labels)
            series.backend.add_to(backend, labels)
            series.batch.add_to(batch, labels)
        return iter((requests, items, total, queue, backend, batch))


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=LABELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges(Collector):
    """What the gateway tells of now, each time the metrics are read."""

    queued_items: Callable[[], int]
    queued_bytes: Callable[[], int]
    calls: Callable[[], int]  # under way
    items_under_way: Callable[[], int]
    ready: Callable[[], bool]

    def collect(self) -> Iterator[Metric]:
        """Yield a metric for each."""
        for name, text, value in (
            ("queued_items", "Items that wait for a call", self.queued_items),
            ("queued_bytes", "Bytes of the payloads that wait", self.queued_bytes),
            ("calls_in_flight", "Calls to TorchServe under way", self.calls),
            ("items_in_flight", "Items of the calls under way", self.items_under_way),
            ("ready", "1 if the gateway takes requests and can have them answered", self.ready),
        ):
            yield GaugeMetricFamily(f"torchkeep_{name}", text, value=float(value()))


class _Process(Collector):
    """Which Torchkeep this is, and what its access log has lost."""

    def __init__(self, records_lost: Callable[[], int]) -> None:
        self._records_lost = records_lost

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("torchkeep_build", "Version", value={"version": __version__})
        yield CounterMetricFamily(
            "torchkeep_access_records_lost",
            "Access records that could not be written",
            value=float(self._records_lost()),
        )
