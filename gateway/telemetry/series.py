"""Counts and histograms of one set of labels, kept by one thread and read by any.

`prometheus_client.Histogram` walks its buckets and takes two locks, several microseconds for each
observation; here one thread counts, so there is nothing to lock, and bisection finds the bucket.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from gateway.finished import Finished

SECONDS = (
    *(0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.04),
    *(0.06, 0.1, 0.16, 0.25, 0.4, 0.6, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets: finest where a small network on a CPU takes its time."""
SIZES = tuple(2.0**power for power in range(11))


class Tally:
    """A histogram: how many observations lie at or below each of `bounds`, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Put this histogram among those of its family; nothing was observed: leave it out."""
        # a copy is one step; an observation between it and the sum is in the next reading
        counts = self._counts.copy()
        if any(counts):
            bounds = [*map(floatToGoString, self._bounds), "+Inf"]
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, self._sum)


@dataclass(slots=True)
class Series:
    """What is counted of the requests that share all their labels."""

    requests: int = 0
    items: int = 0
    queue: Tally = field(default_factory=lambda: Tally(SECONDS))
    backend: Tally = field(default_factory=lambda: Tally(SECONDS))
    total: Tally = field(default_factory=lambda: Tally(SECONDS))
    batch: Tally = field(default_factory=lambda: Tally(SIZES))

    def count(self, request: Finished) -> None:
        """Count a request; times are of inference only, and of calls only if it came so far."""
        self.requests += 1
        if request.arrival.operation is None:
            return
        self.items += request.items_ok
        self.total.observe(request.total_s)
        if request.batch_size or request.queue_s:
            self.queue.observe(request.queue_s)
        if request.batch_size:
            self.backend.observe(request.backend_s)
            self.batch.observe(request.batch_size)
