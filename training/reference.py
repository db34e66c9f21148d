"""Making the reference that monitoring holds the request log against.

It is made of calibration split B, by the model as it is served. Neither training nor fitting has
seen those images: head scores are ranked on split A, and split B alone came when the score was
already what it is. So the scores of B stand to those of clean traffic as like to like, which those
of A, and of validation images, that training watched, do not quite. Split B also gave the threshold
its place; that is why the reference keeps scores and no verdicts: how many of B are suspicious was
chosen, not measured. Test images stay what nothing was made of, so that an alarm can be tested on
them.

    M images of the sample
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from monitoring.class_probabilities import ranked, unranked
from monitoring.features import feature_names, features_of_images, model_features
from monitoring.quantile_sketch import sketch
from monitoring.reference import MAX_SAMPLE, Reference
from monitoring.reference_arrays import MAX_CLASSES
from monitoring.reference_file import load_reference, reference_file
from robustness.fitting import BATCH, Progress
from robustness.screened_model import ScreenedModel, load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet, Splits
from torchkeep.errors import ArtifactError

SPLIT = "calibration_b"
_SEED = 0x4EF0


def has_reference(artifact: ModelArtifact) -> bool:
    """Whether the artifact has a reference that can be read, or can have none."""
    if len(artifact.manifest.classes) > MAX_CLASSES:
        return True
    try:
        load_reference(artifact.path)
    except ArtifactError:
        return False
    return True


def with_reference(
    artifact: ModelArtifact, splits: Splits, device: torch.device, progress: Progress
) -> ModelArtifact:
    """Write the reference into an artifact with detectors; returns it as it then is on disk.

    One of more than `MAX_CLASSES` classes is returned as it is. Raises `ArtifactError` if its
    detectors are not for this device.
    """
    if len(artifact.manifest.classes) > MAX_CLASSES:
        return artifact
    model = load_screened_model(artifact, device)
    reference = make_reference(artifact, model, splits.calibration_b, progress)
    return artifact.with_reference(*reference_file(reference, split=SPLIT))


def make_reference(
    artifact: ModelArtifact, model: ScreenedModel, images: ImageSet, progress: Progress
) -> Reference:
    """Return what `model`, that of `artifact`, sees in and says of held-out images.

    Raises `ArtifactError` if it says of one what is not finite.
    """
    batches = []
    for start in range(0, len(images), BATCH):
        progress("reference", start, len(images))
        batches.append(model.screen(images.images[start : start + BATCH]))
    progress("reference", len(images), len(images))
    failed = sum(int(np.sum(batch.failed)) for batch in batches)
    if failed:
        raise ArtifactError(f"{artifact.path}: no finite output for {failed} held-out images")
    classes = artifact.manifest.classes
    logged = ranked(np.concatenate([batch.probabilities for batch in batches]))
    probabilities = unranked(logged, len(classes))
    score = np.concatenate([batch.score for batch in batches]).astype(np.float64)
    features = np.concatenate(
        [features_of_images(images.images), model_features(probabilities, score)], axis=1
    )
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (probabilities.argmax(axis=1), images.labels), 1)
    sample = _sample(len(images))
    embedding = np.concatenate([batch.embedding for batch in batches])[sample]
    return Reference(
        model=artifact.manifest.name,
        version=artifact.manifest.version,
        artifact_digest=artifact.digest,
        classes=classes,
        images=len(images),
        feature_names=feature_names(images.images.shape[1]),
        quantiles=sketch(features),
        class_counts=np.bincount(images.labels, minlength=len(classes)),
        confusion=confusion,
        features=features[sample],
        embedding=embedding.astype(np.float32),
        probabilities=probabilities[sample],
        labels=images.labels[sample].astype(np.int64),
        score=score[sample],
    )


def _sample(images: int) -> NDArray[np.int64]:
    """The images whose rows are kept, in order: M."""
    order = np.random.default_rng(_SEED).permutation(images)
    return np.sort(order[:MAX_SAMPLE])
