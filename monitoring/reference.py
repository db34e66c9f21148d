"""The reference: what a model saw, and said of it, on held-out images before it was served.

It travels in the artifact, so that monitoring never needs the data of the training.

    M held-out images kept as a sample, Q quantiles, F features, E embedding dimensions, K classes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLE = 4096
"""Held-out images whose rows are kept."""
QUANTILES = 4096
"""At most so many quantiles are kept of each feature; fewer if there were fewer images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Rows of the sample belong together; all pixel values are on the 0..1 scale."""

    model: str
    version: str
    artifact_digest: str
    classes: tuple[str, ...]
    images: int
    feature_names: tuple[str, ...]
    quantiles: NDArray[np.float64]  # F Q, each row sorted, from all images
    class_counts: NDArray[np.int64]  # K, true labels of all images
    confusion: NDArray[np.int64]  # K K, [predicted, true] counts over all images
    features: NDArray[np.float64]  # M F
    embedding: NDArray[np.float32]  # M E
    probabilities: NDArray[np.float32]  # M K, in class order
    labels: NDArray[np.int64]  # M, index of the true class
    score: NDArray[np.float64]  # M, of screening

    @property
    def predicted(self) -> NDArray[np.int64]:
        """M, the index of the most probable class."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted
