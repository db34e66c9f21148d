"""A reference as named arrays, and back, when everything about them has been looked at.

Probabilities are kept as a handler logs them, the confusion matrix as the cells that are not 0.

    M images of the sample, F features, Q quantiles, E embedding dimensions, K classes,
    T classes logged of each image, D cells of the confusion matrix that are not 0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.class_probabilities import Ranked, logged_classes, ranked, unranked
from monitoring.reference import MAX_SAMPLE, QUANTILES, Reference
from torchkeep.schema import EMBEDDING_DIMS

MAX_CLASSES = 10_000
"""The confusion matrix of more would not fit into memory."""

Arrays = Mapping[str, NDArray[Any]]

_SUM_OF_PROBABILITIES = (0.99, 1.01)  # float32, and bfloat16 before that
_DTYPES: dict[str, type[np.generic]] = {
    "quantiles": np.float64,  # F Q
    "class_counts": np.int64,  # K
    "confusion": np.int64,  # D 3: predicted, true, count
    "features": np.float64,  # M F
    "embedding": np.float16,  # M E, as logged
    "ranked_classes": np.int32,  # M T
    "ranked_probabilities": np.float32,  # M T
    "labels": np.int64,  # M
    "score": np.float64,  # M
}


class UnfitError(ValueError):
    """Arrays that are no reference; the message says what is wrong."""


def to_arrays(reference: Reference) -> dict[str, NDArray[Any]]:
    """Return the arrays of a reference."""
    logged = ranked(reference.probabilities)
    predicted, true = np.nonzero(reference.confusion)
    found = {
        "quantiles": reference.quantiles,
        "class_counts": reference.class_counts,
        "confusion": np.stack([predicted, true, reference.confusion[predicted, true]], axis=1),
        "features": reference.features,
        "embedding": reference.embedding,
        "ranked_classes": logged.classes,
        "ranked_probabilities": logged.probabilities,
        "labels": reference.labels,
        "score": reference.score,
    }
    return {name: np.ascontiguousarray(found[name], dtype) for name, dtype in _DTYPES.items()}


def from_arrays(
    arrays: Arrays,
    *,
    model: str,
    version: str,
    artifact_digest: str,
    classes: tuple[str, ...],
    images: Any,
    feature_names: Any,
) -> Reference:
    """Return the reference of what `to_arrays` gave and what the manifest says beside it.

    Raises `UnfitError` if anything is not as it should be.
    """
    names = _names(feature_names)
    _require(type(images) is int and images > 0, f"images are {images!r}")
    _require(len(classes) <= MAX_CLASSES, f"{len(classes)} classes, more than {MAX_CLASSES}")
    _check_shapes(arrays, images, len(names), len(classes))
    _check_values(arrays, images, len(classes))
    logged = Ranked(arrays["ranked_classes"], arrays["ranked_probabilities"])
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    cells = arrays["confusion"]
    confusion[cells[:, 0], cells[:, 1]] = cells[:, 2]
    by_class = confusion.sum(axis=0) == arrays["class_counts"]
    _require(bool(by_class.all()), "the confusion matrix does not add up to the class counts")
    return Reference(
        model=model,
        version=version,
        artifact_digest=artifact_digest,
        classes=classes,
        images=images,
        feature_names=names,
        quantiles=arrays["quantiles"],
        class_counts=arrays["class_counts"],
        confusion=confusion,
        features=arrays["features"],
        embedding=arrays["embedding"].astype(np.float32),
        probabilities=unranked(logged, len(classes)),
        labels=arrays["labels"],
        score=arrays["score"],
    )


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise UnfitError(fault)


def _names(found: Any) -> tuple[str, ...]:
    _require(
        isinstance(found, list) and found != [] and all(type(name) is str for name in found),
        f"feature names are {str(found)[:80]!r}",
    )
    _require(len(set(found)) == len(found), "two features have one name")
    return tuple(found)


def _check_shapes(arrays: Arrays, images: int, features: int, classes: int) -> None:
    sample, width = min(images, MAX_SAMPLE), logged_classes(classes)
    wanted: dict[str, tuple[int | None, ...]] = {
        "quantiles": (features, min(images, QUANTILES)),
        "class_counts": (classes,),
        "confusion": (None, 3),
        "features": (sample, features),
        "embedding": (sample, EMBEDDING_DIMS),
        "ranked_classes": (sample, width),
        "ranked_probabilities": (sample, width),
        "labels": (sample,),
        "score": (sample,),
    }
    _require(arrays.keys() == wanted.keys(), f"it holds {', '.join(sorted(arrays)) or 'nothing'}")
    for name, shape in wanted.items():
        array = arrays[name]
        fits = len(shape) == array.ndim and all(
            side in (None, found) for side, found in zip(shape, array.shape, strict=True)
        )
        said = f"{name} is {array.shape} of {array.dtype}, for {images} images"
        _require(fits and array.dtype == _DTYPES[name], said)


def _check_values(arrays: Arrays, images: int, classes: int) -> None:
    for name in ("quantiles", "features", "embedding", "ranked_probabilities", "score"):
        _require(bool(np.isfinite(arrays[name]).all()), f"{name} holds what is not finite")
    quantiles = arrays["quantiles"]
    _require(bool((quantiles[:, 1:] >= quantiles[:, :-1]).all()), "quantiles are not sorted")
    counts = arrays["class_counts"]
    _require(bool((counts >= 0).all() and (counts <= images).all()), "class counts are no counts")
    _require(int(counts.sum()) == images, "the class counts do not add up to the images")
    _check_cells(arrays["confusion"], images, classes)
    for name in ("ranked_classes", "labels"):
        indices = arrays[name]
        _require(bool(((indices >= 0) & (indices < classes)).all()), f"{name} holds no classes")
    ordered = np.sort(arrays["ranked_classes"], axis=1)
    _require(bool((ordered[:, 1:] != ordered[:, :-1]).all()), "an image has a class twice")
    likely = arrays["ranked_probabilities"].astype(np.float64)
    low, high = _SUM_OF_PROBABILITIES
    total = likely.sum(axis=1)
    least = low if likely.shape[1] == classes else 0.0
    sound = (likely >= 0).all() and ((total >= least) & (total <= high)).all()
    _require(bool(sound), "there are probabilities that are none")


def _check_cells(cells: NDArray[np.int64], images: int, classes: int) -> None:
    places, counts = cells[:, :2], cells[:, 2]
    inside = bool(((places >= 0) & (places < classes)).all())
    _require(inside, "the confusion matrix has cells outside")
    _require(bool(((counts > 0) & (counts <= images)).all()), "confusion counts are no counts")
    flat = np.sort(places[:, 0] * classes + places[:, 1])
    _require(bool((flat[1:] != flat[:-1]).all()), "the confusion matrix has a cell twice")
