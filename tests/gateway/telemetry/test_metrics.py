from __future__ import annotations

import math
import re
import threading
import timeit
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_metrics

from gateway.refusal import Code
from gateway.telemetry.metrics import LABELS, Gauges, Metrics
from gateway.telemetry.series import SECONDS, SIZES
from tests.gateway.plane.questions import DIGITS
from tests.gateway.telemetry.endings import answered, arrival, refused
from torchkeep import __version__
from torchkeep.schema import Operation

PAGE = Path(__file__).parents[3] / "docs" / "gateway-telemetry.md"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def samples(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by name and by the values of `LABELS`, then `le`."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_metrics(metrics.exposition()[0].decode()):
        for sample in family.samples:
            names = [name for name in (*LABELS, "le") if name in sample.labels]
            labels = tuple(sample.labels[name] for name in names)
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([DIGITS])


OK = ("digits", "1.0", "predict", "clean", "OK")


def test_an_answered_request_is_counted_everywhere(metrics: Metrics) -> None:
    metrics.count(answered())
    metrics.count(answered(total_s=0.5, batch_size=64))
    found = samples(metrics)
    assert found["torchkeep_requests_total"] == {OK: 2}
    assert found["torchkeep_items_total"] == {OK: 4}
    assert found["torchkeep_request_seconds_sum"][OK] == pytest.approx(0.5065)
    assert found["torchkeep_queue_seconds_sum"][OK] == pytest.approx(0.002)
    assert found["torchkeep_backend_seconds_sum"][OK] == pytest.approx(0.008)
    assert found["torchkeep_batch_size_sum"][OK] == 72
    times = found["torchkeep_request_seconds_bucket"]
    assert times[*OK, "0.006"] == 0
    assert times[*OK, "0.008"] == 1
    assert times[*OK, "+Inf"] == 2
    assert found["torchkeep_batch_size_bucket"][*OK, "8.0"] == 1
    for name in ("request_seconds", "queue_seconds", "backend_seconds", "batch_size"):
        assert found[f"torchkeep_{name}_count"] == {OK: 2}


def test_only_what_happened_has_a_time(metrics: Metrics) -> None:
    metrics.count(refused(Code.BUSY, total_s=0.001))
    metrics.count(refused(Code.EXPIRED, queue_s=2.0, total_s=2.0))
    metrics.count(refused(Code.OK, arrival(operation=None), message=""))  # metadata
    found = samples(metrics)
    busy = ("digits", "1.0", "predict", "", "RESOURCE_EXHAUSTED")
    late = ("digits", "1.0", "predict", "", "DEADLINE_EXCEEDED")
    metadata = ("digits", "1.0", "", "", "OK")
    assert found["torchkeep_requests_total"] == {busy: 1, late: 1, metadata: 1}
    assert found["torchkeep_request_seconds_count"] == {busy: 1, late: 1}
    assert found["torchkeep_queue_seconds_count"] == {late: 1}
    assert "torchkeep_backend_seconds_count" not in found
    assert metadata not in found["torchkeep_items_total"]


@pytest.mark.parametrize(
    ("model", "version", "labels"),
    [
        ("digits", "1.0", ("digits", "1.0")),
        ("digits", "", ("digits", "")),
        ("digits", "2.0", ("digits", "other")),
        ("letters", "1.0", ("other", "other")),
        ("letters", "", ("other", "other")),
        ("", "", ("", "")),
        ('x"\n\\', "", ("other", "other")),
    ],
)
def test_names_of_callers_are_no_labels(
    metrics: Metrics, model: str, version: str, labels: tuple[str, str]
) -> None:
    metrics.count(refused(Code.NOT_FOUND, arrival(model=model, version=version)))
    [found] = samples(metrics)["torchkeep_requests_total"]
    assert found[:2] == labels


def test_codes_of_one_name_share_a_series(metrics: Metrics) -> None:
    for code in Code:
        metrics.count(refused(code))
    lines = metrics.exposition()[0].decode().splitlines()
    names = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))
    found = samples(metrics)["torchkeep_requests_total"]
    assert found["digits", "1.0", "predict", "", "INVALID_ARGUMENT"] == 2
    assert sum(found.values()) == len(Code)


def test_a_million_names_are_one_series(metrics: Metrics) -> None:
    for number in range(10_000):
        metrics.count(refused(Code.NOT_FOUND, arrival(model=f"m{number}", version=str(number))))
        metrics.count(refused(Code.NOT_FOUND, arrival(version=f"v{number}")))
    found = samples(metrics)["torchkeep_requests_total"]
    assert sorted(found.values()) == [10_000, 10_000]
    assert len(metrics.exposition()[0]) < 50_000


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.floats(0, 100) | st.sampled_from(SECONDS), min_size=1, max_size=50))
def test_a_tally_is_a_histogram(values: list[float]) -> None:
    metrics = Metrics([DIGITS])
    for value in values:
        metrics.count(answered(total_s=value))
    found = samples(metrics)
    buckets = {
        float(le): count for (*_, le), count in found["torchkeep_request_seconds_bucket"].items()
    }
    assert sorted(buckets) == [*SECONDS, math.inf]
    for bound, count in buckets.items():
        assert count == sum(value <= bound for value in values)
    assert found["torchkeep_request_seconds_count"][OK] == len(values)
    assert found["torchkeep_request_seconds_sum"][OK] == pytest.approx(sum(values))


def test_bounds_rise() -> None:
    for bounds in (SECONDS, SIZES):
        assert all(low < high for low, high in pairwise(bounds))


def gauges(**changes: Any) -> Gauges:
    values: dict[str, Any] = {
        "queued_items": lambda: 3,
        "queued_bytes": lambda: 4096,
        "calls": lambda: 2,
        "items_under_way": lambda: 128,
        "ready": lambda: True,
    }
    return Gauges(**(values | changes))


def test_gauges_are_read_when_asked(metrics: Metrics) -> None:
    queued = [3]
    metrics.watch(gauges(queued_items=lambda: queued[0], ready=lambda: queued[0] < 5))
    found = samples(metrics)
    assert found["torchkeep_queued_items"] == {(): 3}
    assert found["torchkeep_queued_bytes"] == {(): 4096}
    assert found["torchkeep_calls_in_flight"] == {(): 2}
    assert found["torchkeep_items_in_flight"] == {(): 128}
    assert found["torchkeep_ready"] == {(): 1}
    queued[0] = 7
    found = samples(metrics)
    assert found["torchkeep_queued_items"] == {(): 7}
    assert found["torchkeep_ready"] == {(): 0}


def test_lost_records_and_the_version_are_told() -> None:
    found = samples(Metrics([DIGITS], lambda: 42))
    assert found["torchkeep_access_records_lost_total"] == {(): 42}
    text = Metrics([DIGITS]).exposition()[0].decode()
    assert f'torchkeep_build_info{{version="{__version__}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_registries_are_apart() -> None:
    one, other = Metrics([DIGITS]), Metrics([DIGITS])
    one.count(answered())
    assert "torchkeep_requests_total" not in samples(other)


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "nonsense;;,q=", "\xff"])
def test_text_is_the_default(metrics: Metrics, accept: str) -> None:
    metrics.count(answered())
    body, content_type = metrics.exposition(accept)
    assert content_type.startswith("text/plain")
    assert list(text_metrics(body.decode()))


def test_open_metrics_is_given_to_who_accepts_it(metrics: Metrics) -> None:
    metrics.count(answered())
    metrics.watch(gauges())
    body, content_type = metrics.exposition(f"text/html, {OPEN_METRICS}")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    families = {family.name: family.type for family in open_metrics(body.decode())}
    assert families["torchkeep_requests"] == "counter"
    assert families["torchkeep_queue_seconds"] == "histogram"


def test_reading_in_a_thread_while_counting_loses_nothing(metrics: Metrics) -> None:
    done = threading.Event()
    broken: list[str] = []

    def read() -> None:
        while not done.is_set():
            found = samples(metrics)
            buckets = found.get("torchkeep_request_seconds_bucket", {})
            counts = found.get("torchkeep_request_seconds_count", {})
            broken.extend(
                str(labels) for labels, count in counts.items() if buckets[*labels, "+Inf"] != count
            )

    reader = threading.Thread(target=read)
    reader.start()
    codes = list(Code)
    for number in range(20_000):
        metrics.count(answered(code=codes[number % len(codes)], total_s=number / 1_000))
    done.set()
    reader.join()
    assert broken == []
    assert sum(samples(metrics)["torchkeep_requests_total"].values()) == 20_000


def test_counting_costs_microseconds(metrics: Metrics) -> None:
    request = answered()
    seconds = min(timeit.repeat(lambda: metrics.count(request), number=1_000, repeat=20)) / 1_000
    assert seconds < 50e-6  # about 3 on an idle machine; a child looked up anew would take 100


def test_explanations_are_apart(metrics: Metrics) -> None:
    metrics.count(answered(arrival(operation=Operation.EXPLAIN)))
    [labels] = samples(metrics)["torchkeep_requests_total"]
    assert labels[2] == "explain"


def test_the_page_names_every_metric_and_no_other(metrics: Metrics) -> None:
    metrics.count(answered())
    metrics.watch(gauges())
    told = {family.name for family in open_metrics(metrics.exposition(OPEN_METRICS)[0].decode())}
    ours = {name for name in told if name.startswith("torchkeep_")}
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(torchkeep_\w+?)(?:_total|_info)?` \|", page, re.MULTILINE))
    gpus = {name for name in named if name.startswith("torchkeep_gpu_")}
    assert named - gpus == ours
