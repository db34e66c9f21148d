"""The benchmark of the sequential alarm counts what it says it counts."""

from __future__ import annotations

import numpy as np

from loadtests.benchmarks.sequential import (
    WAITED,
    against,
    brightness,
    delays,
    noise,
    partly,
    run_length,
)
from tests.monitoring.sequential.streams import a_reference, a_window

IMAGES = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4), dtype=np.uint8)


def test_shifts_do_what_they_are_called() -> None:
    random = np.random.default_rng(1)
    assert np.abs(brightness(0.5)(IMAGES, random) - IMAGES / 2).max() <= 0.5
    middle = np.full_like(IMAGES, 128)
    assert abs((noise(0.1)(middle, random) / 255).std() - 0.1) < 0.01
    some = partly(0.25, brightness(0.0))(IMAGES, random)
    hit = (some == 0).all(axis=(1, 2, 3))
    assert 30 <= hit.sum() <= 70
    assert np.array_equal(some[~hit], IMAGES[~hit])


def test_delays_count_from_the_change() -> None:
    usual, bright = a_window(2000, 1), a_window(2000, 2, shift=6)
    even = np.full(2000, 1 / 2000)
    reference = a_reference(2000)
    found = delays(reference, usual, bright, "brighter", even, 2)
    assert 1 <= found.median <= found.worst <= 20
    assert (found.missed, found.confirmed, found.streams) == (0, 0, 2)
    assert found.witness in ("brightness", "photometric")
    nothing = delays(reference, usual, usual, "none", even, 1)
    assert (nothing.median, nothing.missed, nothing.witness) == (WAITED, 1, "")


def test_run_lengths_count_alarms_and_items() -> None:
    changed = a_window(500, 2, shift=6)
    found = run_length("changed", against(a_reference(2000), changed, 2), 100)
    assert (found.streams, found.items) == (2, 200)
    assert found.alarms >= 2
    assert found.run_length == round(200 / found.alarms)
    assert found.to_first <= 20
    quiet = run_length("the same", against(a_reference(2000), a_window(500, 3), 2), 50)
    assert (quiet.alarms, quiet.run_length, quiet.to_first) == (0, 100, 100)
