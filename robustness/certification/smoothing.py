"""Randomized smoothing: a majority under Gaussian noise, and the L2 radius in which it stands.

Cohen et al. 2019, section 3.2. Shapes: N noisy copies of one image C H W, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustness.calibration import clopper_pearson_upper
from torchkeep.errors import SettingsError

Noise = Callable[[int], Tensor]
"""Returns so many draws of standard Gaussian noise: N C H W, on the image's device."""

ABSTAIN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """`selection` draws choose the class, `draws` others bound its share with error `alpha`."""

    sigma: float = 0.25
    selection: int = 100
    draws: int = 10_000
    alpha: float = 0.001
    batch: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf") or not 0 < self.alpha < 1:
            raise SettingsError(
                f"sigma {self.sigma}, alpha {self.alpha}",
                remedy="Give a sigma above 0 and an alpha between 0 and 1.",
            )
        if min(self.selection, self.draws, self.batch) < 1:
            raise SettingsError("smoothing needs 1 or more draws")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The smoothed class (`ABSTAIN`: no majority is proved) and its L2 radius."""

    label: int
    radius: float


def seeded_noise(image: Tensor, seed: int) -> Noise:
    """Return a stream of noise for one image (C H W), drawn on its device."""
    generator = torch.Generator(image.device).manual_seed(seed)

    def draw(count: int) -> Tensor:
        shape = (count, *image.shape)
        return torch.randn(shape, generator=generator, device=image.device, dtype=image.dtype)

    return draw


@torch.inference_mode()
def counts(
    model: nn.Module, image: Tensor, draws: int, smoothing: Smoothing, noise: Noise
) -> Tensor:
    """Return how many of `draws` noisy copies of an image each class gets: K, on the device."""
    votes: list[Tensor] = []
    for start in range(0, draws, smoothing.batch):
        count = min(smoothing.batch, draws - start)
        logits = model(image + smoothing.sigma * noise(count))
        votes.append(logits.argmax(1).bincount(minlength=logits.shape[1]))
    return torch.stack(votes).sum(0)


def predict(model: nn.Module, image: Tensor, smoothing: Smoothing, noise: Noise) -> int:
    """Return the smoothed class, or `ABSTAIN` (Cohen et al. 2019, PREDICT)."""
    from scipy.stats import binomtest

    ordered = counts(model, image, smoothing.draws, smoothing, noise).sort(descending=True)
    first, second = ordered.values[:2].tolist()
    surely = binomtest(first, first + second, 0.5).pvalue <= smoothing.alpha
    return int(ordered.indices[0]) if surely else ABSTAIN


def certify(model: nn.Module, image: Tensor, smoothing: Smoothing, noise: Noise) -> Certificate:
    """Return the smoothed class and a radius that holds but for `alpha` (CERTIFY)."""
    from scipy.stats import norm

    chosen = int(counts(model, image, smoothing.selection, smoothing, noise).argmax())
    votes = int(counts(model, image, smoothing.draws, smoothing, noise)[chosen])
    against = smoothing.draws - votes
    share = 1 - clopper_pearson_upper(against, smoothing.draws, 1 - smoothing.alpha)
    if share <= 0.5:
        return Certificate(ABSTAIN, 0.0)
    return Certificate(chosen, smoothing.sigma * float(norm.ppf(share)))
