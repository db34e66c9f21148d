"""Attacks on training data, to measure the scan with: ART's backdoors, and flipped labels.

Images are uint8; ART wants floats in 0..1, so an attacked image is rounded to whole levels.
Poisoned samples keep their places, so that found and missed ones can be counted exactly. Import
after `robustness.art_library.prepare()`.
"""

# N samples, C H W an image

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from art.attacks.poisoning import PoisoningAttackBackdoor, PoisoningAttackCleanLabelBackdoor
from art.attacks.poisoning.perturbations import add_pattern_bd, add_single_bd, insert_image
from numpy.typing import NDArray
from PIL import Image

from robustness.detectors import art_classifier
from robustness.poisoning.evidence import Mask, look
from robustness.poisoning.seeded import seeded_numpy
from torchkeep.architectures import Classifier
from torchkeep.data import ImageSet
from torchkeep.errors import SettingsError

LEVELS = 255
PATCH_SHARE = 0.18
"""Side of the inserted image, as a share of the image's."""
BLEND = 0.8
PGD_STEPS = 20

Pixels = NDArray[np.float32]


class Trigger(StrEnum):
    """What the attacker puts on an image: perturbations of ART's."""

    PIXEL = "pixel"  # add_single_bd: one bright pixel
    PATTERN = "pattern"  # add_pattern_bd: four bright pixels
    IMAGE = "image"  # insert_image: a small picture, blended in


@dataclass(frozen=True, slots=True, eq=False)
class Poisoned:
    """Training data after an attack, and which of its samples (N) were attacked."""

    data: ImageSet
    poisoned: Mask


def backdoor(data: ImageSet, trigger: Trigger, share: float, target: int, seed: int) -> Poisoned:
    """Stamp a trigger on `share` of all samples, none of class `target`, and label them so."""
    chosen = _choose(np.flatnonzero(data.labels != target), share, len(data), seed)
    attack = PoisoningAttackBackdoor(lambda pixels: _stamp(pixels, trigger))
    stamped, labels = attack.poison(_to_unit(data.images[chosen]), np.full(len(chosen), target))
    return _replaced(data, chosen, _to_levels(stamped), labels)


def clean_label_backdoor(
    data: ImageSet, trigger: Trigger, share: float, target: int, seed: int, proxy: Classifier
) -> Poisoned:
    """Make `share` of all samples, all of class `target`, hard to learn but for a trigger.

    They keep their true label (Turner et al. 2018); `proxy` is the attacker's own network. ART
    draws with replacement, so somewhat fewer samples are attacked.
    """
    members = np.flatnonzero(data.labels == target)
    attack = PoisoningAttackCleanLabelBackdoor(
        PoisoningAttackBackdoor(lambda pixels: _stamp(pixels, trigger)),
        art_classifier(proxy, data.shape, proxy.head.weight.device),
        target=np.eye(proxy.head.out_features, dtype=np.float32)[target],
        pp_poison=min(share * len(data) / len(members), 0.99),
        eps=0.3,
        eps_step=0.05,
        max_iter=PGD_STEPS,
    )
    attack.attack.set_params(verbose=False)
    labels = np.tile(attack.target, (len(members), 1))
    with seeded_numpy(seed):
        attacked, _ = attack.poison(_to_unit(data.images[members]), labels)
    images = _to_levels(attacked)
    changed = (images != data.images[members]).any((1, 2, 3))
    places = members[changed]
    return _replaced(data, places, images[changed], data.labels[places])


def flip_labels(data: ImageSet, classes: int, share: float, seed: int) -> Poisoned:
    """Give `share` of all samples another label, at random."""
    chosen = _choose(np.arange(len(data)), share, len(data), seed)
    steps = np.random.default_rng(seed).integers(1, classes, len(chosen))
    return _replaced(data, chosen, data.images[chosen], (data.labels[chosen] + steps) % classes)


def backdoor_success(
    classifier: Classifier, test: ImageSet, trigger: Trigger, target: int
) -> float:
    """Return the share of test images of other classes that the trigger turns into `target`."""
    victims = test.images[test.labels != target]
    _, probabilities = look(classifier, _to_levels(_stamp(_to_unit(victims), trigger)))
    return float((probabilities.argmax(1) == target).mean())


def _choose(places: NDArray[np.int64], share: float, total: int, seed: int) -> NDArray[np.int64]:
    count = round(share * total)
    if not 0 < count <= len(places):
        raise SettingsError(
            f"{share:g} of {total} samples cannot be poisoned",
            remedy=f"Give a share from {1 / total:g} to {len(places) / total:g}.",
        )
    return np.sort(np.random.default_rng(seed).choice(places, count, replace=False))


def _replaced(
    data: ImageSet, places: NDArray[np.int64], images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Poisoned:
    attacked = ImageSet(data.images.copy(), data.labels.copy())
    attacked.images[places] = images
    attacked.labels[places] = labels
    poisoned = np.zeros(len(data), np.bool_)
    poisoned[places] = True
    return Poisoned(attacked, poisoned)


def _stamp(pixels: Pixels, trigger: Trigger) -> Pixels:
    """Return images (N C H W in 0..1) with the trigger on them."""
    if trigger is Trigger.PIXEL:
        stamped: Pixels = add_single_bd(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return stamped
    if trigger is Trigger.PATTERN:
        return np.asarray(add_pattern_bd(pixels, channels_first=True))
    return _insert(pixels)


def _insert(pixels: Pixels) -> Pixels:
    """Blend a small chequered picture into the upper left corner, through ART's own function."""
    channels, height, width = pixels.shape[1:]
    side = max(3, round(min(height, width) * PATCH_SHARE))
    corner = min(height, width) // 14
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ART names Pillow's mode argument
        path = Path(folder) / "trigger.png"
        chequered = (np.indices((side, side)).sum(0) % 2 == 0) * np.uint8(LEVELS)
        Image.fromarray(chequered).save(path)
        return np.asarray(
            insert_image(
                pixels,
                backdoor_path=str(path),
                channels_first=True,
                random=False,
                x_shift=corner,
                y_shift=corner,
                mode="L" if channels == 1 else "RGB",
                blend=BLEND,
            )
        )


def _to_unit(images: NDArray[np.uint8]) -> Pixels:
    return np.asarray(images / LEVELS, np.float32)


def _to_levels(pixels: Pixels) -> NDArray[np.uint8]:
    return np.rint(pixels * LEVELS).clip(0, LEVELS).astype(np.uint8)
