"""What more labels are worth, what speaks against the answer, and how it did on known sizes."""

# S sizes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchkeep.errors import SettingsError
from training.learning_curve.curve import Curve
from training.learning_curve.extrapolation import SHARE, Extrapolation, Interval, extrapolate
from training.learning_curve.power_law import HIGHEST_B, LOWEST_B

HELD_OUT_OF_7 = 2
"""Sizes held out of seven or more; of fewer it is one."""
RISE = 2.0
"""Standard deviations by which accuracy must rise from the smallest to the largest size."""
LEAST_FIT = 0.001
"""Probability of the misfit below which it is no power law."""
FAR = 0.99
"""A backtest outside the interval with this share says that the extrapolation failed."""


TOO_WIDE = "the interval is as wide as the answer"
"""The one doubt that leaves the upper edge of the interval believable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """A size held out: the mean accuracy foretold from the smaller sizes, and the one measured."""

    size: int
    foretold: Interval
    measured: float
    failed: bool

    @property
    def inside(self) -> bool:
        return self.foretold.low <= self.measured <= self.foretold.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer: `more` labels beyond `have` raise the accuracy by `gain`, a share of 1.

    If there are `doubts`, the data do not support that number, and it must not be told alone.
    """

    curve: Curve
    have: int
    more: int
    gain: Interval
    now: Interval
    then: Interval
    extrapolation: Extrapolation
    backtests: tuple[Backtest, ...]
    doubts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `gain` is null if the data do not support it."""
        rows = zip(self.curve.sizes, self.curve.errors, strict=True)
        return {
            "have": self.have,
            "more": self.more,
            "interval": SHARE,
            "gain": None if self.doubts else self.gain._asdict(),
            "gain_at_most": self.gain.high,
            "accuracy_now": self.now._asdict(),
            "accuracy_then": self.then._asdict(),
            "doubts": list(self.doubts),
            "law": {name: self.extrapolation.parameter(name)._asdict() for name in "abc"},
            "fit_probability": self.extrapolation.fits,
            "backtests": [
                asdict(test) | {"foretold": test.foretold._asdict(), "inside": test.inside}
                for test in self.backtests
            ],
            "points": [
                {"size": int(size), "accuracies": (1 - errors).tolist()} for size, errors in rows
            ],
            "test_images": self.curve.images,
        }


def check_question(have: int, more: int) -> None:
    """Raise `SettingsError` unless both numbers of labels are above 0."""
    if more < 1:
        raise SettingsError(f"{more} more labels", remedy="Ask for 1 or more.")
    if have < 1:
        raise SettingsError(f"you cannot have {have} labels", remedy="Give 1 or more.")


def assess(curve: Curve, have: int, more: int, seed: int) -> Assessment:
    """Answer from a curve of `FEWEST_SIZES` sizes or more; `seed` draws the intervals."""
    check_question(have, more)
    found = extrapolate(curve, seed)
    backtests = tuple(_backtests(curve, seed))
    gain = found.gain(have, more)
    return Assessment(
        curve=curve,
        have=have,
        more=more,
        gain=gain,
        now=found.accuracy(have),
        then=found.accuracy(have + more),
        extrapolation=found,
        backtests=backtests,
        doubts=tuple(_doubts(curve, found, gain, backtests)),
    )


def _backtests(curve: Curve, seed: int) -> Iterator[Backtest]:
    """Hold out the largest sizes, fit the others, and compare."""
    count = HELD_OUT_OF_7 if len(curve.sizes) >= 7 else 1
    found = extrapolate(curve.without_last(count), seed)
    for size, error in zip(curve.sizes[-count:], curve.mean[-count:], strict=True):
        far = found.measurement(size, FAR)
        yield Backtest(
            size=int(size),
            foretold=found.measurement(size),
            measured=float(1 - error),
            failed=not far.low <= 1 - error <= far.high,
        )


def _doubts(
    curve: Curve, found: Extrapolation, gain: Interval, backtests: tuple[Backtest, ...]
) -> Iterator[str]:
    """Say what speaks against the answer."""
    first, last = curve.mean[[0, -1]]
    noise = np.sqrt(found.noise.variance(curve.mean[[0, -1]]).sum())
    if first - last < RISE * noise:
        yield "accuracy does not rise with the number of labels by more than its noise"
    b = found.law.b[0]
    if found.law.a[0] == 0 or not 1.01 * LOWEST_B < b < HIGHEST_B / 1.01:
        yield f"the best law lies at the bounds of what is tried (b = {b:.2f})"
    if found.fits < LEAST_FIT:
        yield (
            "the measured accuracies follow no power law (probability of so large a misfit "
            f"{found.fits:.1g}); leaving out the smallest sizes may help"
        )
    if any(test.failed for test in backtests):
        yield "the law of the smaller sizes failed to foretell the larger ones"
    if gain.high - gain.low >= gain.estimate:
        yield TOO_WIDE
