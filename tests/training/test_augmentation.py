"""Crops are windows of the padded image, flips mirror it, and each image has its own chance."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.nn.functional import pad

from torchkeep.errors import SettingsError
from training.augmentation import Augmentation

Offset = tuple[int, int]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct(count: int, channels: int, height: int, width: int) -> Tensor:
    """Images whose every pixel has a value of its own, above 0."""
    numbers = torch.arange(1, 1 + count * channels * height * width, dtype=torch.float32)
    return (numbers / (len(numbers) + 1)).view(count, channels, height, width)


def offsets(image: Tensor, changed: Tensor, padding: int) -> list[Offset]:
    """Return all offsets at which `changed` is a window of the zero-padded image (C H W)."""
    padded, (height, width) = pad(image, (padding,) * 4), image.shape[1:]
    return [
        (row, column)
        for row, column in product(range(2 * padding + 1), repeat=2)
        if torch.equal(padded[:, row : row + height, column : column + width], changed)
    ]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    count=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_changed_image_is_a_window_of_its_own_image_or_of_its_mirror(
    count: int, channels: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    images = distinct(count, channels, height, width)
    before = images.clone()
    changed = Augmentation(crop_padding=padding, flip=flip)(images, rng(seed))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert torch.equal(images, before)
    for image, other in zip(images, changed, strict=True):
        mirrored = offsets(image, other.flip(2), padding) if flip else []
        assert offsets(image, other, padding) or mirrored


def test_crops_are_drawn_uniformly_for_each_image() -> None:
    images = distinct(1, 1, 5, 5).repeat(2000, 1, 1, 1)
    changed = Augmentation(crop_padding=2)(images, rng(0))
    found = Counter(offset for other in changed for offset in offsets(images[0], other, 2))
    assert set(found) == set(product(range(5), repeat=2))
    assert sum(found.values()) == 2000
    assert chisquare(list(found.values())).pvalue > 0.01


def test_half_of_the_images_are_mirrored_each_by_its_own_chance() -> None:
    images = distinct(1, 3, 4, 6).repeat(4000, 1, 1, 1)
    changed = Augmentation(flip=True)(images, rng(0))
    mirrored = torch.tensor([torch.equal(other, images[0].flip(2)) for other in changed])
    same = torch.tensor([torch.equal(other, images[0]) for other in changed])
    assert (mirrored ^ same).all()
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.03)
    after = mirrored[1:] == mirrored[:-1]  # neighbours agree as often as not
    assert after.float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_flips_and_crops_are_drawn_apart() -> None:
    images = distinct(1, 1, 4, 4).repeat(3000, 1, 1, 1)
    changed = Augmentation(crop_padding=1, flip=True)(images, rng(0))
    pairs: Counter[tuple[bool, Offset]] = Counter()
    for other in changed:
        pairs.update((False, offset) for offset in offsets(images[0], other, 1))
        pairs.update((True, offset) for offset in offsets(images[0], other.flip(2), 1))
    assert len(pairs) == 2 * 9
    assert chisquare(list(pairs.values())).pvalue > 0.01


def test_the_same_seed_changes_alike_and_another_does_not() -> None:
    images = distinct(50, 1, 6, 6)
    augmentation = Augmentation(crop_padding=3, flip=True)
    one, two, other = (augmentation(images, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_nothing_is_changed_or_drawn_unless_told() -> None:
    images, generator = distinct(5, 1, 4, 4), rng(3)
    assert torch.equal(Augmentation()(images, generator), images)
    assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=rng(3)))


def test_channels_last_images_are_changed_alike() -> None:
    images = distinct(20, 3, 6, 5)
    augmentation = Augmentation(crop_padding=2, flip=True)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augmentation(last, rng(4)), augmentation(images, rng(4)))


def test_a_negative_padding_is_refused() -> None:
    with pytest.raises(SettingsError, match="crop_padding -1"):
        Augmentation(crop_padding=-1)
