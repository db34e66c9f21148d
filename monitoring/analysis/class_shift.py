"""Whether the shares of the classes have changed, and to what.

Two tests of the predicted classes share one level. A scan asks whether some one class became two to
four times as likely (or a third) and is sharp for that; Pearson's chi-square asks whether anything
changed at all. Both count the reference's size, too.

The true shares are estimated from the predicted ones by undoing the confusions that were counted on
the reference (black-box shift estimation, Lipton, Wang and Smola 2018).

    N items, K classes, R Monte Carlo samples, B bootstrap samples
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.analysis.config import DriftConfig
from monitoring.analysis.results import number, tested, told, untested
from monitoring.drift import chi_square, total_variation
from monitoring.drift_report import ClassShare, Note, TestName, TestResult
from monitoring.reference import Reference
from monitoring.window import Window

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

_SCAN_SHARE = 0.9
"""Of the level; the scan is the sharper one for what is likelier to happen."""
_FACTORS = {2.0: 1.0, 3.0: 1.0, 4.0: 1.0, 1 / 3: 0.03}
"""By how much the odds of a class may have changed, and how much each counts. A class that is
missing from a few dozen items would outweigh everything if it counted alike."""
_RESAMPLES_TIMES = 50
"""The smallest p-value that resampling gives is the level over this."""
_RESAMPLED_CLASSES = 64
"""Up to so many, the bootstrap draws the reference's K x K confusions as well."""
_PERCENTILES = (2.5, 97.5)


def predicted_counts(window: Window) -> Counts:
    """Return how often each class was predicted, K."""
    predicted = window.predicted[window.predicted >= 0]
    return np.bincount(predicted, minlength=len(window.classes)).astype(np.int64)


def class_test(reference: Reference, window: Window, config: DriftConfig) -> TestResult:
    """Return whether other shares of the classes are predicted than on the reference."""
    if window.classes != reference.classes:
        says = "the window's classes are not the reference's"
        return untested(config, TestName.CLASSES, Note.UNKNOWN_CLASSES, 0, says)
    now, before = predicted_counts(window), reference.confusion.sum(axis=1)
    rows = int(now.sum())
    if rows < config.min_rows or not before.sum():
        note = Note.TOO_FEW if rows else Note.ABSENT
        return untested(config, TestName.CLASSES, note, rows, f"{rows} items have a prediction")
    scan = scan_p_value(now, before, config)
    whole = chi_square(before, now)
    p_value = min(scan / _SCAN_SHARE, whole.p_value / (1 - _SCAN_SHARE), 1.0)
    shares, usual = now / rows, before / before.sum()
    first = int(np.abs(shares - usual).argmax())
    return tested(
        config,
        TestName.CLASSES,
        statistic=whole.statistic,
        p_value=p_value,
        effect=float(total_variation(shares, usual)),
        rows=rows,
        says=f"class {reference.classes[first]} is predicted for {shares[first]:.0%} of the items, "
        f"{usual[first]:.0%} in the reference; {told(p_value)} over all classes",
    )


def scan_p_value(now: Counts, before: Counts, config: DriftConfig) -> float:
    """Return the p-value of the likelihood ratio that some one class became likelier.

    Given the classes of both samples together, any division of them is as likely as this one if
    nothing changed: the p-value is by Monte Carlo from just that law, exact whatever the sizes.
    """
    pooled, rows = now + before, int(now.sum())
    usual = pooled / pooled.sum()
    draw = np.random.default_rng(config.seed)
    size = config.resamples(TestName.CLASSES, _RESAMPLES_TIMES)
    divided = draw.multivariate_hypergeometric(pooled, rows, size=size, method="marginals")
    ratios = _scan_ratio(np.concatenate([now[None], divided]), usual)
    extreme = int((ratios[1:] >= ratios[0] - 1e-9).sum())  # a tie is as extreme
    return (1 + extreme) / (1 + size)


def _scan_ratio(counts: Counts, usual: Shares) -> Shares:
    """Return log of the likelihood ratio averaged over classes and factors: R K to R."""
    rows = counts.sum(axis=1, keepdims=True)
    terms = [
        np.log(weight) + counts * np.log(factor) - rows * np.log1p(usual * (factor - 1))
        for factor, weight in _FACTORS.items()
    ]
    return np.asarray(np.logaddexp.reduce(np.concatenate(terms, axis=1), axis=1))


def class_shares(
    reference: Reference, window: Window, config: DriftConfig
) -> tuple[tuple[ClassShare, ...], Note]:
    """Return each class's share as predicted and as estimated, and why not where there is none."""
    usual = reference.class_counts / max(int(reference.class_counts.sum()), 1)
    now = predicted_counts(window)
    note = Note.OK
    if window.classes != reference.classes:
        note = Note.UNKNOWN_CLASSES
    elif now.sum() < config.min_rows:
        note = Note.TOO_FEW if now.any() else Note.ABSENT
    if note is not Note.OK:
        return tuple(
            ClassShare(
                label=label, reference=share, predicted=None, estimated=None, low=None, high=None
            )
            for label, share in zip(reference.classes, usual.tolist(), strict=True)
        ), note
    estimated, low, high = estimate_shares(reference.confusion, now, config)
    table = np.column_stack([usual, now / now.sum(), estimated, low, high]).tolist()
    return tuple(
        ClassShare(
            label=label,
            reference=was,
            predicted=seen,
            estimated=number(guess),
            low=number(least),
            high=number(most),
        )
        for label, (was, seen, guess, least, most) in zip(reference.classes, table, strict=True)
    ), Note.OK


def estimate_shares(
    confusion: Counts, now: Counts, config: DriftConfig
) -> tuple[Shares, Shares, Shares]:
    """Return the estimated true shares, K, with the ends of their 95 % bootstrap intervals.

    `confusion` is K K, [predicted, true] counts; `now` K, counts of predictions. A class that the
    reference never had cannot be estimated and gets the share 0.
    """
    draw = np.random.default_rng(config.seed)
    rows, classes = int(now.sum()), len(now)
    estimated = _undo(confusion[None], now[None])[0]
    drawn = draw.multinomial(rows, now / rows, size=config.bootstraps)
    confusions = confusion[None]
    if classes <= _RESAMPLED_CLASSES:
        total = int(confusion.sum())
        cells = draw.multinomial(total, confusion.ravel() / total, size=config.bootstraps)
        confusions = cells.reshape(-1, classes, classes)
    spread = _undo(confusions, drawn)
    spread = spread[np.isfinite(spread).all(axis=1)]
    if not len(spread):
        return estimated, np.full(classes, np.nan), np.full(classes, np.nan)
    low, high = np.percentile(spread, _PERCENTILES, axis=0)
    return estimated, np.fmin(low, estimated), np.fmax(high, estimated)


def _undo(confusions: Counts, now: Counts) -> Shares:
    """Return the shares of the true classes, B K; a share below zero becomes zero.

    NaN where nothing is predicted that the reference ever predicted.
    """
    joint = confusions / confusions.sum(axis=(1, 2), keepdims=True)
    seen = now / now.sum(axis=1, keepdims=True)
    weights = (np.linalg.pinv(joint, rcond=1e-6) @ seen[:, :, None])[..., 0]
    shares = np.clip(weights, 0.0, None) * joint.sum(axis=1)
    total = shares.sum(axis=1, keepdims=True)
    result: Shares = np.divide(shares, total, out=np.full_like(shares, np.nan), where=total > 0)
    return result
