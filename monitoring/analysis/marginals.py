"""Each feature by itself: its distances from the reference, and one test over all of them.

The smallest p-value adjusted by Benjamini and Hochberg (1995) is also the p-value by Simes (1986)
that any feature differs at all.

    N items, F features, S features that both have, M rows of the reference's sample
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.analysis.config import SMALLEST_EFFECT, DriftConfig
from monitoring.analysis.results import in_deviations, number, tested, told, untested
from monitoring.drift import Distances, benjamini_hochberg, distances
from monitoring.drift_report import FeatureDrift, Note, TestName, TestResult
from monitoring.reference import Reference
from monitoring.window import Window


def shared_features(reference: Reference, window: Window) -> tuple[str, ...]:
    """Return the names of the features that both have, in the reference's order."""
    return tuple(name for name in reference.feature_names if name in window.feature_names)


def columns(names: Sequence[str], of: Sequence[str]) -> list[int]:
    """Return where the features `of` stand among `names`."""
    return [names.index(name) for name in of]


def feature_drifts(
    reference: Reference, window: Window, config: DriftConfig
) -> tuple[tuple[FeatureDrift, ...], TestResult]:
    """Return all features of the reference, the most drifted first, and the test over them."""
    shared = shared_features(reference, window)
    there = window.features[:, columns(window.feature_names, shared)]  # N S
    quantiles = reference.quantiles[columns(reference.feature_names, shared)]  # S Q
    found = distances(quantiles, there, reference_rows=reference.images)
    p_values = benjamini_hochberg(found.ks_p_value)
    rows = [
        _feature(name, found, each, quantiles[each], there[:, each], p_values[each], config)
        for each, name in enumerate(shared)
    ]
    rows.sort(key=lambda row: (row.adjusted_p is None, row.adjusted_p, -(row.ks or 0.0)))
    absent = [_absent(name) for name in reference.feature_names if name not in shared]
    return (*rows, *absent), _over_all(rows, len(window), config)


def _feature(
    name: str,
    found: Distances,
    each: int,
    quantiles: NDArray[np.float64],
    values: NDArray[np.float64],
    adjusted_p: np.float64,
    config: DriftConfig,
) -> FeatureDrift:
    finite = values[np.isfinite(values)]
    effect = float(found.effect[each])
    if np.isinf(effect):
        effect = in_deviations(float(found.wasserstein[each]), 0.0)
    level, smallest = config.level(TestName.FEATURES), SMALLEST_EFFECT[TestName.FEATURES]
    return FeatureDrift(
        name=name,
        note=Note(str(found.note[each])),
        rows=int(found.rows[each]),
        reference_mean=number(float(quantiles.mean())),
        window_mean=float(finite.mean()) if len(finite) else None,
        effect=number(effect),
        kl=number(found.kl[each]),
        wasserstein=number(found.wasserstein[each]),
        jensen_shannon=number(found.jensen_shannon[each]),
        psi=number(found.psi[each]),
        ks=number(found.ks[each]),
        p_value=number(found.ks_p_value[each]),
        adjusted_p=number(float(adjusted_p)),
        drifted=bool(adjusted_p <= level and effect >= smallest),
    )


def _absent(name: str) -> FeatureDrift:
    return FeatureDrift(
        name=name,
        note=Note.ABSENT,
        rows=0,
        reference_mean=None,
        window_mean=None,
        effect=None,
        kl=None,
        wasserstein=None,
        jensen_shannon=None,
        psi=None,
        ks=None,
        p_value=None,
        adjusted_p=None,
        drifted=False,
    )


def _over_all(rows: Sequence[FeatureDrift], size: int, config: DriftConfig) -> TestResult:
    """Return the test of all features together: those of few rows do not take part."""
    measured = [row for row in rows if row.adjusted_p is not None and row.rows >= config.min_rows]
    if not measured:
        note = Note.TOO_FEW if any(row.rows for row in rows) else Note.ABSENT
        says = "no feature has values enough to be compared"
        return untested(config, TestName.FEATURES, note, 0, says)
    # the most significant may be too small to mind where another one is not
    first = next((row for row in measured if row.drifted), measured[0])
    drifted = sum(row.drifted for row in measured)
    p_value = first.adjusted_p if first.adjusted_p is not None else np.nan
    return tested(
        config,
        TestName.FEATURES,
        statistic=first.ks or 0.0,
        p_value=p_value,
        effect=first.effect if first.effect is not None else 0.0,
        rows=max(row.rows for row in measured),
        says=f"{drifted} of {len(measured)} features have drifted; most of all {first.name} "
        f"({moved(first)}, adjusted {told(p_value)}, {size} items)",
    )


def moved(row: FeatureDrift) -> str:
    """Return from where to where the mean of a feature went."""
    if row.reference_mean is None or row.window_mean is None:
        return "no values"
    return f"mean {row.reference_mean:.3g} → {row.window_mean:.3g}"
