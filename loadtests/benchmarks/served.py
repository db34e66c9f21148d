"""What the log would say of images that were served, without a server: as a window.

N images
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.class_probabilities import ranked, unranked
from monitoring.features import feature_names, features_of_images, model_features
from monitoring.window import Window
from robustness.screened_model import ScreenedModel
from torchkeep.artifact import ModelArtifact

_BATCH = 256


def served_window(
    artifact: ModelArtifact, model: ScreenedModel, images: NDArray[np.uint8], *, first: int = 0
) -> Window:
    """Return the window of images N C H W, each a request of its own, at `first` ns and later."""
    batches = [model.screen(images[at : at + _BATCH]) for at in range(0, len(images), _BATCH)]
    classes = artifact.manifest.classes
    logged = ranked(np.concatenate([batch.probabilities for batch in batches]))
    probabilities = unranked(logged, len(classes))
    score = np.concatenate([batch.score for batch in batches]).astype(np.float64)
    seen = features_of_images(images)
    count = len(images)
    return Window(
        model=artifact.manifest.name,
        classes=classes,
        feature_names=feature_names(images.shape[1]),
        timestamp_ns=np.arange(first, first + count, dtype=np.int64),
        version=np.full(count, artifact.manifest.version),
        request_id=np.arange(count).astype(str),
        item=np.zeros(count, dtype=np.int64),
        client=np.full(count, ""),
        session=np.full(count, ""),
        status=np.full(count, "ok"),
        verdict=np.concatenate(
            [np.where(batch.suspicious, "suspicious", "clean") for batch in batches]
        ),
        code_version=np.full(count, artifact.manifest.code_version),
        input_format=np.full(count, "png"),
        score=score,
        features=np.concatenate([seen, model_features(probabilities, score)], axis=1),
        embedding=np.concatenate([batch.embedding for batch in batches]).astype(np.float32),
        probabilities=probabilities,
        predicted=probabilities.argmax(axis=1),
    )
