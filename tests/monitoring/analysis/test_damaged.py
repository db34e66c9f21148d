"""Whatever is missing from a log, an analysis ends with a report that is plain JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.drift_analysis import DriftConfig, analyse
from monitoring.drift_report import Note
from tests.monitoring.analysis import world

CONFIG = DriftConfig(min_rows=10, max_embedding_rows=50, bootstraps=20)
BAD = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e300])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    count=st.integers(0, 60),
    bad=BAD,
    columns=st.sets(st.integers(0, 23)),
    holes=st.floats(0, 1),
    lacking=st.sets(st.sampled_from(["probabilities", "embedding", "score", "predicted"])),
    clients=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_an_analysis_always_ends_with_a_report(
    count: int,
    bad: float,
    columns: set[int],
    holes: float,
    lacking: set[str],
    clients: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    window = world.clean(count, seed, client=(np.arange(count) % clients).astype(str))
    hole = random.random(count) < holes
    features = window.features.copy()
    features[np.ix_(np.flatnonzero(hole), np.array(sorted(columns), dtype=np.int64))] = bad
    damaged: dict[str, Any] = {"features": features}
    for name in lacking:
        values = getattr(window, name).copy()
        values[hole] = -1 if name == "predicted" else np.nan
        damaged[name] = values
    labels = random.integers(-1, 6, count)
    report = analyse(world.reference(), replace(window, **damaged), config=CONFIG, labels=labels)
    read = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert read["rows"] == count
    for test in report.tests:
        assert (test.p_value is None) is (test.note is not Note.OK)
        assert test.p_value is None or 0 <= test.p_value <= 1
        assert test.rows <= count
    for row in report.features:
        assert row.adjusted_p is None or 0 <= row.adjusted_p <= 1


def test_a_model_of_one_class_is_no_fault() -> None:
    reference, window = world.reference(), world.clean(60, 0)
    one = replace(
        reference,
        classes=("all",),
        class_counts=np.array([1200]),
        confusion=np.array([[1200]]),
        probabilities=np.ones((1200, 1), np.float32),
        labels=np.zeros(1200, np.int64),
    )
    alone = replace(
        window,
        classes=("all",),
        probabilities=np.ones((60, 1), np.float32),
        predicted=np.zeros(60, np.int64),
    )
    report = analyse(one, alone)
    assert [share.estimated for share in report.class_shares] == [1.0]
    assert not any(test.rejected for test in report.tests if test.name != "features")
