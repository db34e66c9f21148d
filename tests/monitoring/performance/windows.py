"""A window, a reference and labels for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.features import feature_names
from monitoring.labels import Labels
from monitoring.reference import Reference
from monitoring.window import Window

CLASSES = ("cat", "dog", "owl")
NAMES = feature_names(1)
NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000


def a_window(count: int, **changes: Any) -> Window:
    """Return items one second apart; item k is of request `r<k>` and was taken for a cat."""
    probabilities = np.tile(np.array([0.8, 0.1, 0.1], dtype=np.float32), (count, 1))
    window = Window(
        model="pets",
        classes=CLASSES,
        feature_names=NAMES,
        timestamp_ns=NOW_NS + SECOND_NS * np.arange(count),
        version=np.full(count, "1.0"),
        request_id=np.array([f"r{number}" for number in range(count)], dtype=np.str_),
        item=np.zeros(count, dtype=np.int64),
        client=np.full(count, ""),
        session=np.full(count, ""),
        status=np.full(count, "ok"),
        verdict=np.full(count, "clean"),
        code_version=np.full(count, "0.1.0"),
        input_format=np.full(count, "png"),
        score=np.zeros(count),
        features=np.arange(count * len(NAMES), dtype=np.float64).reshape(count, len(NAMES)),
        embedding=np.zeros((count, 32), dtype=np.float32),
        probabilities=probabilities,
        predicted=np.zeros(count, dtype=np.int64),
    )
    return replace(window, **changes)


def drawn(
    count: int, seed: int, *, overconfident: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw probabilities of three classes, and labels that these probabilities tell the truth of.

    With `overconfident`, so many of the labels are replaced by a class the model rules out.
    """
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.3] * len(CLASSES), count).astype(np.float32)
    edges = probabilities.cumsum(axis=1)
    labels = (random.random((count, 1)) > edges).sum(axis=1).clip(0, len(CLASSES) - 1)
    wrong = random.random(count) < overconfident
    labels[wrong] = probabilities[wrong].argmin(axis=1)
    return probabilities, labels.astype(np.int64)


def a_reference(count: int, seed: int = 0) -> Reference:
    """Return a reference whose model is calibrated."""
    probabilities, labels = drawn(count, seed)
    return Reference(
        model="pets",
        version="1.0",
        artifact_digest="d",
        classes=CLASSES,
        images=count,
        feature_names=NAMES,
        quantiles=np.zeros((len(NAMES), 4)),
        class_counts=np.bincount(labels, minlength=len(CLASSES)),
        confusion=np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64),
        features=np.zeros((count, len(NAMES))),
        embedding=np.zeros((count, 32), dtype=np.float32),
        probabilities=probabilities,
        labels=labels,
        score=np.zeros(count),
    )


def a_predicted_window(count: int, seed: int, **changes: Any) -> tuple[Window, NDArray[np.int64]]:
    """Return a window as `drawn` makes it, and the true classes of its items."""
    overconfident = changes.pop("overconfident", 0.0)
    probabilities, labels = drawn(count, seed, overconfident=overconfident)
    window = a_window(
        count, probabilities=probabilities, predicted=probabilities.argmax(axis=1), **changes
    )
    return window, labels


def labels_of(*rows: tuple[Any, ...], later_s: int = 3600, **changes: Any) -> Labels:
    """Labels of request id and label, and maybe item, client and seconds after the first record."""
    full = [(*row, *(0, "", later_s)[len(row) - 2 :]) for row in rows]
    request_id, label, item, client, seconds = zip(*full, strict=True) if full else [()] * 5
    found = Labels(
        request_id=np.array(request_id, dtype=np.str_),
        item=np.array(item, dtype=np.int64),
        client=np.array(client, dtype=np.str_),
        label=np.array(label, dtype=np.str_),
        labelled_at_ns=NOW_NS + SECOND_NS * np.array(seconds, dtype=np.int64),
        rows=len(rows),
        later=0,
        revised=0,
        conflicting=0,
        unreadable=(),
    )
    return replace(found, **changes)
