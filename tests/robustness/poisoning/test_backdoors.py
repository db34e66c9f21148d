"""Attacks on training data: what they change, and that they change nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustness.art_library import prepare
from tests.conftest import quiet
from tests.data.files import some_images
from torchkeep.cli.poison_learner import learner, scan_recipe
from torchkeep.data import Dataset, ImageSet
from torchkeep.errors import SettingsError

prepare()

from robustness.poisoning.backdoors import (  # noqa: E402 - after prepare()
    Trigger,
    backdoor,
    backdoor_success,
    clean_label_backdoor,
    flip_labels,
)


def some_set(channels: int = 1) -> ImageSet:
    images = some_images(200, (channels, 28, 28))
    return ImageSet(images, np.arange(200, dtype=np.int64) % 10)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("trigger", "pixels"), [("pixel", 1), ("pattern", 4), ("image", 25)])
def test_a_backdoor_changes_a_few_pixels_and_the_label_of_its_share(
    trigger: str, pixels: int, channels: int
) -> None:
    data = some_set(channels)
    attacked = backdoor(data, Trigger(trigger), 0.1, target=3, seed=0)
    assert attacked.poisoned.sum() == 20
    assert (attacked.data.labels[attacked.poisoned] == 3).all()
    assert not (data.labels[attacked.poisoned] == 3).any(), "none was of the target class"
    apart = np.abs(attacked.data.images.astype(int) - data.images).max(1)
    changed = (apart > 1).reshape(200, -1)  # blending rounds by a level
    assert changed[attacked.poisoned].sum(1).max() <= pixels
    assert changed[attacked.poisoned].any(1).all()
    np.testing.assert_array_equal(
        attacked.data.images[~attacked.poisoned], data.images[~attacked.poisoned]
    )
    np.testing.assert_array_equal(
        attacked.data.labels[~attacked.poisoned], data.labels[~attacked.poisoned]
    )


def test_an_attack_depends_on_its_seed_alone() -> None:
    first, again, other = (
        backdoor(some_set(), Trigger.IMAGE, 0.1, target=3, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.data.images, again.data.images)
    assert (first.poisoned != other.poisoned).any()


def test_flips_change_labels_alone() -> None:
    data = some_set()
    attacked = flip_labels(data, 10, 0.05, seed=0)
    assert attacked.poisoned.sum() == 10
    np.testing.assert_array_equal(attacked.data.labels != data.labels, attacked.poisoned)
    np.testing.assert_array_equal(attacked.data.images, data.images)
    assert attacked.data.labels.max() < 10


@pytest.mark.parametrize("share", [0, 0.001, 0.95])
def test_a_share_that_cannot_be_poisoned_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match="cannot be poisoned"):
        backdoor(some_set(), Trigger.PIXEL, share, target=3, seed=0)


def test_a_clean_label_backdoor_keeps_labels_and_a_network_learns_a_backdoor(
    digits_dataset: Dataset,
) -> None:
    data = digits_dataset.train
    learn = learner(scan_recipe(None, 1), 10, torch.device("cpu"), quiet)
    proxy = learn(data, seed=9, step="")
    hidden = clean_label_backdoor(data, Trigger.PATTERN, 0.05, target=1, seed=0, proxy=proxy)
    assert 30 < hidden.poisoned.sum() <= round(0.05 * len(data))
    assert (data.labels[hidden.poisoned] == 1).all()
    np.testing.assert_array_equal(hidden.data.labels, data.labels)
    dirty = backdoor(data, Trigger.PATTERN, 0.1, target=1, seed=0)
    fooled = learn(dirty.data, seed=0, step="")
    assert backdoor_success(fooled, digits_dataset.test, Trigger.PATTERN, 1) > 0.9
    assert backdoor_success(proxy, digits_dataset.test, Trigger.PATTERN, 1) < 0.3
