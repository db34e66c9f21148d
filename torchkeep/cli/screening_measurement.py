"""Measure screening through the running server: what it answered, and what its log says it saw.

The scores come from the request log, not from the answers: by default the server does not tell
scores, and what is logged is what decided.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.log_reader import read_records
from robustness.calibration import clopper_pearson_upper
from robustness.detection_metrics import auroc, exceedance_rate
from torchkeep.client import Client
from torchkeep.errors import ServerError
from torchkeep.progress import Report

ITEMS_PER_CALL = 250
BYTES_PER_CALL = 32 * 1024 * 1024
"""Half of what the server takes by default."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What the server made of N images, in their order."""

    scores: NDArray[np.float64]  # N
    head_scores: Mapping[str, NDArray[np.float64]]  # N each, -ln p
    predicted: NDArray[np.int64]  # N, class index
    threshold: float
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRates:
    """How well one set of attacked images is told from all clean ones."""

    images: int
    auroc: float
    tpr: float
    head_auroc: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenReport:
    """Rates are shares of 1. The attacks do not know the detectors."""

    model: str
    version: str
    digest: str
    threshold: float
    target_fpr: float
    clean_images: int
    clean_accuracy: float
    false_positives: int
    fpr: float
    fpr_upper_bound: float
    attack: str
    attacked_accuracy: float
    attacked: DetectionRates
    successful: DetectionRates

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def send(
    client: Client,
    images: NDArray[np.uint8] | NDArray[np.float32],
    request_log: Path,
    classes: Sequence[str],
    step: str,
    report: Report,
) -> Screened:
    """Have the server predict and screen N C H W images; read its verdicts from the log."""
    run = f"screen-report-{uuid.uuid4().hex}"
    items = max(1, min(ITEMS_PER_CALL, BYTES_PER_CALL // images[0].nbytes))
    for start in range(0, len(images), items):
        report(step, start, len(images))
        client.predict(images[start : start + items], request_id=f"{run}-{start}")
    report(step, len(images), len(images))
    rows = {}
    for record in read_records(request_log):
        if record["request_id"].startswith(run):
            rows[int(record["request_id"].rpartition("-")[2]) + record["item"]] = record
    if sorted(rows) != list(range(len(images))):
        raise ServerError(
            f"{len(rows)} of {len(images)} answered items are in {request_log}",
            remedy="Is this the log of the server that was asked?",
        )
    return _screened([rows[index] for index in range(len(images))], classes)


def _screened(records: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Screened:
    screenings = [record["screening"] for record in records]
    if any(screening is None or screening["score"] is None for screening in screenings):
        raise ServerError("the server could not screen every image; see its request log")
    p_values = {
        name: np.array([screening["heads"][name] for screening in screenings], float)
        for name in screenings[0]["heads"]
    }
    index = {label: position for position, label in enumerate(classes)}
    return Screened(
        scores=np.array([screening["score"] for screening in screenings], float),
        head_scores={name: -np.log(values) for name, values in p_values.items()},
        predicted=np.array([index[record["prediction"][0]] for record in records]),
        threshold=screenings[0]["threshold"],
        digest=records[0]["artifact_digest"],
    )


def detection_rates(
    clean: Screened, attacked: Screened, which: NDArray[np.bool_]
) -> DetectionRates:
    """Compare all clean images with those attacked images that `which` (N) selects."""
    return DetectionRates(
        images=int(which.sum()),
        auroc=auroc(clean.scores, attacked.scores[which]),
        tpr=exceedance_rate(attacked.scores[which], clean.threshold),
        head_auroc={
            name: auroc(clean.head_scores[name], attacked.head_scores[name][which])
            for name in clean.head_scores
        },
    )


def compile_report(
    *,
    model: str,
    version: str,
    target_fpr: float,
    attack: str,
    clean: Screened,
    clean_labels: NDArray[np.int64],
    attacked: Screened,
    attacked_labels: NDArray[np.int64],
) -> ScreenReport:
    """Put together what the server said of clean and of attacked images."""
    fooled = attacked.predicted != attacked_labels
    false_positives = int((clean.scores > clean.threshold).sum())
    return ScreenReport(
        model=model,
        version=version,
        digest=clean.digest,
        threshold=clean.threshold,
        target_fpr=target_fpr,
        clean_images=len(clean.scores),
        clean_accuracy=float((clean.predicted == clean_labels).mean()),
        false_positives=false_positives,
        fpr=false_positives / len(clean.scores),
        fpr_upper_bound=clopper_pearson_upper(false_positives, len(clean.scores)),
        attack=attack,
        attacked_accuracy=float(1 - fooled.mean()),
        attacked=detection_rates(clean, attacked, np.ones_like(fooled)),
        successful=detection_rates(clean, attacked, fooled),
    )
