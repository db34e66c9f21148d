"""How an analysis decides: the false-alarm rate and how the tests share it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monitoring.drift_report import TestName
from torchkeep.errors import SettingsError

SHARE_OF_LEVEL = {
    TestName.CLASSES: 0.50,
    TestName.FEATURES: 0.10,
    TestName.OUTPUTS: 0.05,
    TestName.PHOTOMETRIC: 0.10,
    TestName.EMBEDDING: 0.10,
    TestName.ACCURACY: 0.10,
    TestName.SCREENING: 0.05,
}
"""How the tests share the false-alarm rate (a weighted Bonferroni correction). Shifted classes get
most: they are the hardest to see with few rows, while changed images cry out at any level."""

SMALLEST_EFFECT = {
    TestName.CLASSES: 0.03,
    TestName.FEATURES: 0.1,
    TestName.OUTPUTS: 0.1,
    TestName.PHOTOMETRIC: 0.1,
    TestName.EMBEDDING: 0.05,
    TestName.ACCURACY: 0.01,
    TestName.SCREENING: 0.01,
}
"""The least effect that counts, in the unit of each test: with rows enough, everything differs
significantly from everything, by too little to mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftConfig:
    """How an analysis decides. Raises `SettingsError` if it makes no sense.

    `false_alarm_rate` is that of the whole report, all tests together, on images as the
    reference's: an upper bound, on average over references. One reference is a sample of its own
    and may lie unluckily; half of the 5 % that we promise is kept for that.
    """

    false_alarm_rate: float = 0.025
    min_rows: int = 30
    """Independent items below which nothing is tested."""
    bootstraps: int = 500
    max_embedding_rows: int = 1000
    """Of window and reference each, in the test on embeddings: its memory is their square."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.001 <= self.false_alarm_rate <= 0.5:
            raise SettingsError(
                f"false_alarm_rate is {self.false_alarm_rate}", remedy="Give 0.001 to 0.5."
            )
        limits = {
            "min_rows": (10, 10**9),
            "bootstraps": (20, 10**5),
            "max_embedding_rows": (50, 4096),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise SettingsError(f"{name} is {value!r}", remedy=f"Give {low} to {high}.")

    def level(self, name: TestName) -> float:
        """Return the part of the false-alarm rate that a test may use up."""
        return self.false_alarm_rate * SHARE_OF_LEVEL[name]

    def resamples(self, name: TestName, times: int) -> int:
        """Return how many resamples let a test by resampling reach p-values well below its level.

        The smallest p-value they give is about the level over `times`.
        """
        return math.ceil(times / self.level(name))
