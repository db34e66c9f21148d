"""Randomized smoothing: the counts of ART's under its noise, and radii that hold where known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from robustness.art_library import prepare
from robustness.certification.smoothing import (
    ABSTAIN,
    Noise,
    Smoothing,
    certify,
    counts,
    predict,
    seeded_noise,
)
from robustness.fitting import to_unit
from robustness.screened_model import load_classifier
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.errors import SettingsError


def as_art(image: Tensor) -> Noise:
    """The noise that ART draws: numpy's global stream, scaled in double, cast to float32."""

    def draw(count: int) -> Tensor:
        scaled = np.random.normal(scale=0.25, size=(count, *image.shape)).astype(np.float32)
        return torch.from_numpy(scaled) / 0.25

    return draw


def test_counts_equal_those_of_art_under_the_same_noise(
    digits_artifact: ModelArtifact, digits: Splits
) -> None:
    prepare()
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    model = load_classifier(digits_artifact).requires_grad_(False)
    images = to_unit(digits.test.subset(range(5)))
    smoothing = Smoothing(sigma=0.25, selection=60, draws=300, batch=300, alpha=0.001)
    reference: Any = PyTorchRandomizedSmoothing(
        model,
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        10,
        sample_size=60,
        scale=0.25,
        alpha=0.001,
    )
    for image in images:
        np.random.seed(7)
        theirs = reference._prediction_counts(image.numpy(), n=300)
        np.random.seed(7)
        ours = counts(model, image, 300, smoothing, as_art(image))
        assert ours.tolist() == theirs.astype(int).tolist()
    np.random.seed(3)
    labels, radii = reference.certify(images.numpy(), n=300)
    np.random.seed(3)
    for image, label, radius in zip(images, labels, radii, strict=True):
        found = certify(model, image, smoothing, as_art(image))
        assert found.label == label
        assert found.radius == pytest.approx(radius, abs=1e-6)


class HalfSpace(nn.Module):
    """Class 1 where the sum of the pixels is above a limit: its smoothed radius is known."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        beyond = images.flatten(1).sum(1) - self.limit
        return torch.stack([-beyond, beyond], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_radius_never_passes_the_true_one_and_comes_close(seed: int) -> None:
    image = torch.full((1, 4, 4), 0.5)
    true = (8.0 - 7.0) / 4.0  # distance of the image to the half-space, in L2
    smoothing = Smoothing(sigma=0.25, draws=20_000)
    found = certify(HalfSpace(7.0), image, smoothing, seeded_noise(image, seed))
    assert found.label == 1
    assert 0.9 * true <= found.radius <= true


def test_an_even_race_is_abstained_from() -> None:
    image = torch.full((1, 4, 4), 0.5)
    smoothing = Smoothing(draws=500)
    noise = seeded_noise(image, 0)
    assert predict(HalfSpace(8.0), image, smoothing, noise) == ABSTAIN
    assert certify(HalfSpace(8.0), image, smoothing, noise).radius == 0.0
    assert predict(HalfSpace(7.0), image, smoothing, noise) == 1


def test_what_an_image_gets_does_not_depend_on_the_batch() -> None:
    image = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = HalfSpace(float(image.sum()) - 0.3)
    small = Smoothing(draws=1000, batch=7)
    large = Smoothing(draws=1000, batch=1000)
    few = counts(model, image, 1000, small, seeded_noise(image, 1))
    many = counts(model, image, 1000, large, seeded_noise(image, 1))
    assert abs(int(few[1]) - int(many[1])) <= 60  # other draws of the same law
    again = counts(model, image, 1000, small, seeded_noise(image, 1))
    assert torch.equal(few, again)
    assert int(few.sum()) == int(many.sum()) == 1000


def test_the_radius_is_that_of_the_paper() -> None:
    image = torch.full((1, 4, 4), 0.5)
    found = certify(HalfSpace(-100.0), image, Smoothing(draws=1000), seeded_noise(image, 0))
    best = 0.001 ** (1 / 1000)  # the lower bound of a share when all votes agree
    assert found.radius == pytest.approx(0.25 * norm.ppf(best), rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"sigma": 0.0}, {"sigma": float("inf")}, {"alpha": 0.0}, {"alpha": 1.0}, {"draws": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Smoothing(**wrong)  # type: ignore[arg-type]
