"""A small world to analyse: images of four classes, a model that knows them, and what it logs.

N images, 12 x 12 pixels, K classes
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.features import feature_names, features_of_images, model_features
from monitoring.quantile_sketch import sketch
from monitoring.reference import Reference
from monitoring.window import Window

CLASSES = ("bar", "blob", "cross", "ring")
SECOND = 1_000_000_000
_SIDE = 12
_REFERENCE_IMAGES = 1200
_SUSPICIOUS = 6.0

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def _templates() -> NDArray[np.float64]:
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    distance = np.hypot(x, y)
    shapes = [
        np.abs(x) < 2,
        distance < 3,
        (np.abs(x) < 1) | (np.abs(y) < 1),
        np.abs(distance - 4) < 1,
    ]
    return np.stack(shapes).astype(np.float64)


TEMPLATES = _templates()  # K 12 12
_PROJECTION = np.random.default_rng(7).normal(size=(_SIDE * _SIDE, 8)) / _SIDE


def labels(count: int, random: np.random.Generator, shares: Any = None) -> Labels:
    """Draw classes, in even shares unless others are given."""
    return random.choice(len(CLASSES), count, p=shares).astype(np.int64)


def called(drawn: Labels, random: np.random.Generator, error: float = 0.05) -> Labels:
    """Return what people call the images: some of them another class than was drawn."""
    other = (drawn + 1) % len(CLASSES)
    return np.where(random.random(len(drawn)) < error, other, drawn)


def images(of: Labels, random: np.random.Generator, *, brightness: float = 1.0) -> Images:
    """Draw an image of each class: its shape, at some strength, with a little noise."""
    strength = random.uniform(0.6, 0.9, (len(of), 1, 1))
    pixels = TEMPLATES[of] * strength + random.normal(0, 0.06, (len(of), _SIDE, _SIDE))
    clipped = np.clip(pixels * brightness, 0, 1)
    return np.asarray((255 * clipped).round().astype(np.uint8)[:, None])


def outputs(of: Images) -> dict[str, NDArray[Any]]:
    """Return what the world's model says: probabilities by likeness, embedding, a score."""
    flat = of.reshape(len(of), _SIDE * _SIDE) / 255
    shapes = TEMPLATES.reshape(len(CLASSES), -1)
    likeness = flat @ (shapes / shapes.sum(axis=1, keepdims=True)).T * 12
    likeness -= likeness.max(axis=1, keepdims=True)
    probabilities = np.exp(likeness) / np.exp(likeness).sum(axis=1, keepdims=True)
    residue = flat.std(axis=1) / np.maximum(flat.mean(axis=1), 1e-9)
    return {
        "probabilities": probabilities.astype(np.float32),
        "embedding": (flat @ _PROJECTION).astype(np.float32),
        "score": np.exp(residue - 1.0),
    }


@cache
def reference() -> Reference:
    """Return the reference of the world, always the same one."""
    random = np.random.default_rng(1)
    drawn = labels(_REFERENCE_IMAGES, random)
    shown = images(drawn, random)
    truth = called(drawn, random)
    said = outputs(shown)
    features = np.concatenate(
        [features_of_images(shown), model_features(said["probabilities"], said["score"])], axis=1
    )
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(confusion, (said["probabilities"].argmax(axis=1), truth), 1)
    return Reference(
        model="world",
        version="1.0",
        artifact_digest="d" * 64,
        classes=CLASSES,
        images=len(truth),
        feature_names=feature_names(1),
        quantiles=sketch(features),
        class_counts=np.bincount(truth, minlength=len(CLASSES)),
        confusion=confusion,
        features=features,
        labels=truth,
        **said,
    )


def window(shown: Images, **columns: Any) -> Window:
    """Return the window of these images, a second apart; `columns` replace what is usual."""
    count, said = len(shown), outputs(shown)
    features = np.concatenate(
        [features_of_images(shown), model_features(said["probabilities"], said["score"])], axis=1
    )
    usual = {
        "timestamp_ns": np.arange(count, dtype=np.int64) * SECOND,
        "version": np.full(count, "1.0"),
        "request_id": np.arange(count).astype(str),
        "item": np.zeros(count, np.int64),
        "client": np.full(count, "a"),
        "session": np.full(count, ""),
        "status": np.full(count, "ok"),
        "verdict": np.where(said["score"] > _SUSPICIOUS, "suspicious", "clean"),
        "code_version": np.full(count, "0.1.0"),
        "input_format": np.full(count, "png"),
        "features": features,
        "predicted": said["probabilities"].argmax(axis=1),
        **said,
    }
    return Window(
        model="world", classes=CLASSES, feature_names=feature_names(1), **(usual | columns)
    )


def clean(count: int, seed: int, **columns: Any) -> Window:
    """Return a window of images like the reference's."""
    random = np.random.default_rng([2, seed])
    return window(images(labels(count, random), random), **columns)
