"""The reference with the classes in the window's shares: what differs still is not their shares.

M rows of the reference's sample, N items, F features, K classes
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monitoring.analysis.class_shift import predicted_counts
from monitoring.analysis.config import DriftConfig
from monitoring.analysis.marginals import columns, feature_drifts, shared_features
from monitoring.analysis.photometric import photometric_test
from monitoring.features import MODEL_FEATURES
from monitoring.quantile_sketch import sketch
from monitoring.reference import Reference
from monitoring.window import Window

_FEWEST = 100
"""Rows of a matched reference below which nothing is said."""


def matched(reference: Reference, window: Window, config: DriftConfig) -> Reference | None:
    """Return the reference of images only, thinned until its predicted classes are the window's.

    As many rows as can be had without taking one twice; None if there are too few. Its images are
    the rows that were kept.
    """
    wanted = predicted_counts(window)
    predicted = reference.predicted
    there = np.bincount(predicted, minlength=len(reference.classes))
    wanted = np.where(there > 0, wanted, 0)
    if window.classes != reference.classes or not wanted.any():
        return None
    shares = wanted / wanted.sum()
    rows = (there[wanted > 0] / shares[wanted > 0]).min()
    kept = np.floor(shares * rows + 1e-9).astype(int)
    if kept.sum() < _FEWEST:
        return None
    draw = np.random.default_rng(config.seed)
    chosen = np.concatenate(
        [
            draw.choice(np.flatnonzero(predicted == label), count, replace=False)
            for label, count in enumerate(kept.tolist())
        ]
    )
    names = tuple(name for name in reference.feature_names if name not in MODEL_FEATURES)
    features = reference.features[chosen][:, columns(reference.feature_names, names)]
    return replace(
        reference,
        images=len(chosen),
        feature_names=names,
        quantiles=sketch(features),
        features=features,
        embedding=reference.embedding[chosen],
        probabilities=reference.probabilities[chosen],
        labels=reference.labels[chosen],
        score=reference.score[chosen],
    )


def same_within_classes(reference: Reference, window: Window, config: DriftConfig) -> bool | None:
    """Return whether the images look as they did, class by class; None if that cannot be told."""
    alike = matched(reference, window, config)
    if alike is None or not shared_features(alike, window):
        return None
    part = window.take(window.predicted >= 0)
    tests = (photometric_test(alike, part, config), feature_drifts(alike, part, config)[1])
    return not any(test.rejected for test in tests)
