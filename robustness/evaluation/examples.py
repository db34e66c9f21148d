"""The worst images, to be looked at: before, after, and the difference magnified."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.plan import Purpose, Task
from robustness.evaluation.report import Example
from robustness.evaluation.results import Results, wrong

AN_ATTACK = 3
"""Examples of each attack."""
LARGEST_SIDE = 96
"""Pixels of a shown image's side, at most; small images are shown as they are."""


def examples(results: Results, classes: Sequence[str], *, detectors: bool) -> Iterator[Example]:
    """Yield for each attack the images it turned, those that screening trusts most first."""
    for task in results.strikes(purpose=Purpose.RESULT):
        columns = results.of(task.key)
        places = np.flatnonzero(wrong(columns))
        worst = places[np.argsort(columns["score"][places], kind="stable")][:AN_ATTACK]
        for place in worst.tolist():
            yield _example(results, task, place, classes, detectors)


def _example(
    results: Results, task: Task, place: int, classes: Sequence[str], detectors: bool
) -> Example:
    columns = results.of(task.key)
    before = results.material.images[place].astype(np.float32) / 255
    after = results.images(task, place)
    return Example(
        index=results.plan.first + place,
        label=classes[int(results.material.labels[place])],
        predicted=classes[int(columns["predicted"][place])],
        attack=task.title,
        threat=task.threat,
        flagged=bool(columns["suspicious"][place]) if detectors else None,
        score=float(columns["score"][place]) if detectors else None,
        before=png(before),
        after=png(after),
        difference=png(magnified(before, after)),
    )


def magnified(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the difference about mid-grey, its largest value stretched to black or white."""
    difference = after - before
    largest = float(np.abs(difference).max())
    shown: NDArray[np.float32] = 0.5 + difference / (2 * largest) if largest else before * 0 + 0.5
    return shown


def png(image: NDArray[np.float32]) -> str:
    """Return an image (C H W in 0..1) as PNG in base64."""
    from PIL import Image

    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if len(levels) not in (1, 3):
        levels = levels[:1]
    picture = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
