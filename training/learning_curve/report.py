"""An assessment in words, as a chart and as a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from torchkeep.render.chart import Series, line_chart
from torchkeep.render.page import Section, Table, page
from training.learning_curve.assessment import TOO_WIDE, Assessment
from training.learning_curve.extrapolation import SHARE, Interval

_DRAWN = 60
"""Sizes at which the law is drawn."""
MISSED = " A size held out lay outside its interval: trust this less."
METHOD = "\n\n".join(
    [
        "Each training is the recipe's own, on a subset that holds every class and all smaller "
        "subsets; small subsets are shown more often, so that they are not undertrained. Every "
        "repeat draws its own subsets.",
        "error(n) = a · n^-b + c is fitted to the mean errors, weighted by how much trainings "
        "differ and by how many test images there are. Intervals come from laws fitted to curves "
        "drawn with the same noise (parametric bootstrap).",
        "They hold if errors go on to follow such a law, if the new labels are of the same kind as "
        "the old, and for the recipe as it is: a larger network may use more labels better.",
    ]
)


def answer(found: Assessment) -> str:
    """Return in a sentence or two what the labels are worth, or why no number can be told."""
    asked = f"{found.more:,} more labels ({found.have:,} → {found.have + found.more:,})"
    if found.doubts:
        text = f"The data support no number for {asked}: {'; '.join(found.doubts)}."
        at_most = f" They raise the accuracy by {points(found.gain.high)} points at the most."
        return text + (at_most if found.doubts == (TOO_WIDE,) else "")
    fewer = 10_000 * found.gain.estimate
    missed = "" if all(test.inside for test in found.backtests) else MISSED
    return (
        f"{asked} raise the accuracy by {points(found.gain.estimate)} points "
        f"({SHARE:.0%} interval {points(found.gain.low)} to {points(found.gain.high)}): "
        f"{fewer:,.2g} errors fewer in 10,000 images.{missed}"
    )


def backtest_lines(found: Assessment) -> list[str]:
    """Return, size by size, how the extrapolation from smaller sizes did."""
    return [
        f"{test.size:,} labels, held out: foretold {share(test.foretold)}, "
        f"measured {test.measured:.2%}: {'inside' if test.inside else 'OUTSIDE'}"
        for test in found.backtests
    ]


def law_line(found: Assessment) -> str:
    """Return the law and the intervals of its parameters."""
    b, c = (found.extrapolation.parameter(name) for name in "bc")
    law = found.extrapolation.law
    return (
        f"error(n) = {law.a[0]:.3g} · n^-{b.estimate:.2f} + {c.estimate:.4f}; "
        f"b {b.low:.2f} to {b.high:.2f}, c {c.low:.4f} to {c.high:.4f}"
    )


def points(gain: float) -> str:
    """Return a gain in percentage points, to two digits."""
    return f"{float(f'{100 * gain:.2g}'):g}"


def share(interval: Interval) -> str:
    """Return an accuracy and its interval in per cent."""
    return f"{interval.estimate:.2%} ({interval.low:.2%} to {interval.high:.2%})"


def chart(found: Assessment, title: str) -> str:
    """Return errors and law over labels, both axes logarithmic, as an `<svg>` element."""
    curve = found.curve
    last = max(curve.sizes[-1], found.have) + found.more
    sizes = np.geomspace(curve.sizes[0], last, _DRAWN)
    law = [found.extrapolation.accuracy(size) for size in sizes]
    tests = found.backtests
    series = [
        _series(f"law, {SHARE:.0%} interval", sizes.tolist(), law),
        Series(
            "trainings",
            np.repeat(curve.sizes, curve.repeats).tolist(),
            curve.errors.ravel().tolist(),
            marker=True,
            line=False,
        ),
        _series(
            "foretold from smaller sizes",
            [test.size for test in tests],
            [test.foretold for test in tests],
            line=False,
        ),
    ]
    return line_chart(title, "labels", "share of errors", series, log_x=True, log_y=True)


def html(found: Assessment, title: str) -> str:
    """Return the whole assessment as one self-contained page."""
    curve = found.curve
    rows = [
        [int(size), f"{1 - mean:.2%}", points(deviation)]
        for size, mean, deviation in zip(curve.sizes, curve.mean, curve.deviation, strict=True)
    ]
    columns = ["labels", f"accuracy (mean of {curve.repeats})", "deviation (points)"]
    tests = [
        [test.size, share(test.foretold), f"{test.measured:.2%}", "yes" if test.inside else "no"]
        for test in found.backtests
    ]
    held = Table(["labels held out", "foretold", "measured", "inside"], tests)
    return page(
        title,
        [
            Section("What more labels are worth", answer(found)),
            Section("Curve", law_line(found), svg=chart(found, title)),
            Section("Test of the extrapolation", table=held),
            Section("Measured", f"On {curve.images:,} test images.", table=Table(columns, rows)),
            Section("How", METHOD),
        ],
    )


def _series(
    name: str, sizes: Sequence[float], accuracies: Sequence[Interval], *, line: bool = True
) -> Series:
    return Series(
        name,
        sizes,
        [1 - accuracy.estimate for accuracy in accuracies],
        [1 - accuracy.high for accuracy in accuracies],
        [1 - accuracy.low for accuracy in accuracies],
        line=line,
    )
