"""The measures that alert rules may name.

Whoever evaluates the rules collects them; one that cannot be known is None (or absent), never 0: a
rule over it keeps its state and is counted as without data.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Measure(StrEnum):
    """A number that a rule can watch. Shares are 0 to 1."""

    ACCURACY = "accuracy"  # realised, by labels
    ACCURACY_LOW = "accuracy_low"  # lower end of its 95 % interval
    ACCURACY_HIGH = "accuracy_high"  # upper end: below a limit, the limit is surely missed
    ESTIMATED_ACCURACY = "estimated_accuracy"  # by calibrated confidence, without labels
    DRIFT = "drift"  # 1: the analysis of the window found drift, 0: it found none
    DRIFT_SHARE = "drift_share"  # share of the features that drifted
    SEQUENTIAL_ALARM = "sequential_alarm"  # 1: the alarm over the stream stands, 0: it does not
    NOVELTY_SHARE = "novelty_share"  # share of items that are novel
    SUSPICIOUS_SHARE = "suspicious_share"  # share of screened items, failed ones included
    REJECTED_SHARE = "rejected_share"  # share of items that screening kept from an answer
    ERROR_SHARE = "error_share"  # share of requests that failed by the server's fault
    REFUSED_SHARE = "refused_share"  # share of requests refused because too much was waiting
    P50_MS = "p50_ms"  # total time of a request
    P95_MS = "p95_ms"
    P99_MS = "p99_ms"
    QUEUE_P99_MS = "queue_p99_ms"
    REQUESTS_PER_S = "requests_per_s"
    CONCURRENCY = "concurrency"  # the most requests under way at once
    BURN_RATE_1H = "burn_rate_1h"  # of the worst objective, over 1 h and over 5 min
    BURN_RATE_6H = "burn_rate_6h"  # over 6 h and over 30 min
    BURN_RATE_1D = "burn_rate_1d"  # over 1 day and over 2 h
    BURN_RATE_3D = "burn_rate_3d"  # over 3 days and over 6 h
    BUDGET_LEFT = "budget_left"  # share of the error budget that is left, of the worst objective
    RECORDS_LOST = "records_lost"  # records that a full disk kept from the log
    RECORDS_QUARANTINED = "records_quarantined"  # lines of the log that are no records


Measures = Mapping[str, float | None]
"""Values by the name of the measure."""
