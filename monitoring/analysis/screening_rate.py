"""Whether screening finds more images suspicious than it did on held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom

from monitoring.analysis.config import DriftConfig
from monitoring.analysis.results import tested, told, untested
from monitoring.drift_report import Note, TestName, TestResult
from monitoring.reference import Reference
from monitoring.window import Window
from torchkeep.schema import Verdict


class Rate(NamedTuple):
    """Suspicious ones among images."""

    suspicious: int
    images: int

    @property
    def share(self) -> float:
        """Their share."""
        return self.suspicious / self.images


def screening_test(
    reference: Reference,
    window: Window,
    config: DriftConfig,
    calibration: Mapping[str, Any] | None,
) -> TestResult:
    """Return whether the share of suspicious items is higher (Fisher's exact test, one-sided).

    It is compared with the false positives of the `calibration` that the artifact records; without
    it, with those of the reference's own scores.
    """
    judged = np.isin(window.verdict, list(Verdict))
    rows = int(judged.sum())
    if rows < config.min_rows:
        note = Note.TOO_FEW if rows else Note.ABSENT
        return untested(config, TestName.SCREENING, note, rows, f"{rows} items were screened")
    alarmed = window.verdict != Verdict.CLEAN  # a failed detector counts as suspicious
    now = Rate(int((judged & alarmed).sum()), rows)
    before = _calibrated(calibration) or _of_scores(reference, window, judged & ~alarmed)
    if before is None:
        says = "neither a calibration nor scores to compare with"
        return untested(config, TestName.SCREENING, Note.ABSENT, rows, says)
    drawn = hypergeom(now.images + before.images, now.suspicious + before.suspicious, now.images)
    p_value = float(drawn.sf(now.suspicious - 1))
    return tested(
        config,
        TestName.SCREENING,
        statistic=now.share,
        p_value=p_value,
        effect=now.share - before.share,
        rows=rows,
        says=f"{now.share:.1%} of the items are suspicious, {before.share:.1%} were on "
        f"{before.images} held-out images, {told(p_value)}",
    )


def _calibrated(calibration: Mapping[str, Any] | None) -> Rate | None:
    found = [(calibration or {}).get(key) for key in ("exceedances", "images_b")]
    if not all(isinstance(value, int) and value >= 0 for value in found) or not found[1]:
        return None
    return Rate(*found)  # type: ignore[arg-type]


def _of_scores(reference: Reference, window: Window, clean: Any) -> Rate | None:
    """Count reference scores above the largest that passed as clean: never too few."""
    scores = reference.score[np.isfinite(reference.score)]
    passed = window.score[clean & np.isfinite(window.score)]
    if not len(scores):
        return None
    above = scores > passed.max() if len(passed) else scores > -np.inf
    return Rate(int(above.sum()), len(scores))
