"""Running totals of one served version, as the protocol's statistics extension tells them."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from gateway.finished import Finished
from gateway.refusal import Code


@dataclass(slots=True)
class Statistics:
    """Counts since the start; times in ns, over the requests that succeeded."""

    request_count: int = 0
    item_count: int = 0
    execution_count: int = 0  # calls
    success_count: int = 0
    fail_count: int = 0
    success_ns: int = 0
    fail_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    last_inference_ms: int = 0  # since 1970
    batches: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def finish(self, request: Finished) -> None:
        """Count a finished request."""
        self.request_count += 1
        self.last_inference_ms = time.time_ns() // 1_000_000
        if request.code is Code.OK:
            self.success_count += 1
            self.item_count += request.arrival.items
            self.success_ns += int(request.total_s * 1e9)
            self.queue_ns += int(request.queue_s * 1e9)
            self.compute_ns += int(request.backend_s * 1e9)
        else:
            self.fail_count += 1
            self.fail_ns += int(request.total_s * 1e9)

    def execute(self, items: int) -> None:
        """Count a call of so many items."""
        self.execution_count += 1
        self.batches[items] += 1
