"""A reference and an artifact for tests, made up of numbers: no network is needed to read one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monitoring.class_probabilities import ranked, unranked
from monitoring.features import feature_names
from monitoring.quantile_sketch import sketch
from monitoring.reference import Reference
from torchkeep.artifact import MODEL, Manifest, ModelArtifact
from torchkeep.image_shape import ImageShape
from torchkeep.schema import EMBEDDING_DIMS


def a_reference(images: int = 60, classes: int = 3, seed: int = 0) -> Reference:
    """Return a reference as it would be of so many random images."""
    random = np.random.default_rng(seed)
    names = feature_names(1)
    likely = random.dirichlet(np.ones(classes), images).astype(np.float32)
    probabilities = unranked(ranked(likely), classes)
    labels = random.integers(0, classes, images)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (probabilities.argmax(axis=1), labels), 1)
    features = random.random((images, len(names)))
    return Reference(
        model="tiny",
        version="1.0",
        artifact_digest="",
        classes=tuple(str(number) for number in range(classes)),
        images=images,
        feature_names=names,
        quantiles=sketch(features),
        class_counts=np.bincount(labels, minlength=classes),
        confusion=confusion,
        features=features,
        embedding=random.normal(size=(images, EMBEDDING_DIMS)).astype(np.float16).astype("f4"),
        probabilities=probabilities,
        labels=labels,
        score=random.random(images),
    )


def an_artifact(path: Path, classes: int = 3) -> ModelArtifact:
    """Write an artifact without a reference."""
    manifest = Manifest(
        name="tiny",
        version="1.0",
        architecture="none",
        options={},
        input=ImageShape(channels=1, height=8, width=8),
        classes=tuple(str(number) for number in range(classes)),
        threat_model=None,
        train_record={},
        metrics={},
        screening=None,
    )
    return ModelArtifact.write(path, manifest, {MODEL: {"weight": torch.arange(9.0)}})
