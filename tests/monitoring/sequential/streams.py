"""A reference and windows of random numbers, small enough for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.features import feature_names
from monitoring.reference import Reference
from monitoring.window import Window

CLASSES = ("cat", "dog", "owl")
NAMES = feature_names(1)
EMBEDDED = 4
NOW_NS = 10**15


def columns(count: int, seed: int, shift: float = 0.0) -> Mapping[str, NDArray[Any]]:
    """Return random columns of items; `shift` moves their brightness, in deviations."""
    random = np.random.default_rng(seed)
    features = random.normal(0.5, 0.1, (count, len(NAMES)))
    features[:, NAMES.index("mean_0")] += 0.1 * shift
    return {
        "features": features,
        "embedding": random.normal(size=(count, EMBEDDED)).astype(np.float32),
        "probabilities": random.dirichlet([0.3] * len(CLASSES), count).astype(np.float32),
        "score": features[:, NAMES.index("score")].copy(),
    }


def a_reference(count: int = 400, seed: int = 0, **changes: Any) -> Reference:
    """Return the reference of so many random images."""
    found = columns(count, seed)
    labels = found["probabilities"].argmax(axis=1)
    reference = Reference(
        model="pets",
        version="1.0",
        artifact_digest="ab" * 32,
        classes=CLASSES,
        images=count,
        feature_names=NAMES,
        quantiles=np.sort(found["features"], axis=0).T.copy(),
        class_counts=np.bincount(labels, minlength=len(CLASSES)),
        confusion=np.diag(np.bincount(labels, minlength=len(CLASSES))),
        labels=labels,
        **found,  # type: ignore[arg-type]
    )
    return replace(reference, **changes)


def a_window(
    count: int, seed: int, *, first_ns: int = 0, shift: float = 0.0, **changes: Any
) -> Window:
    """Return a window of so many random items, a ns apart."""
    found = columns(count, seed, shift)

    def same(value: str) -> NDArray[np.str_]:
        return np.full(count, value)

    window = Window(
        model="pets",
        classes=CLASSES,
        feature_names=NAMES,
        timestamp_ns=np.arange(first_ns, first_ns + count, dtype=np.int64),
        version=same("1.0"),
        request_id=np.array([f"r{number}" for number in range(count)], dtype=np.str_),
        item=np.zeros(count, dtype=np.int64),
        client=same("c"),
        session=same(""),
        status=same("ok"),
        verdict=same("clean"),
        code_version=same("0"),
        input_format=same("png"),
        predicted=found["probabilities"].argmax(axis=1),
        **found,  # type: ignore[arg-type]
    )
    return replace(window, **changes)


def joined(*windows: Window) -> Window:
    """Return windows one after another."""
    found = {
        name: np.concatenate([getattr(window, name) for window in windows])
        for name in Window.__dataclass_fields__
        if isinstance(getattr(windows[0], name), np.ndarray)
    }
    return replace(windows[0], **found)
