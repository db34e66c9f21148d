"""HopSkipJump (Chen et al. 2020) through ART: asks for decisions only.

Shapes: B batch, C H W an image, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustness.art_library import prepare
from robustness.attacks.attack import Attack
from robustness.attacks.perturbation import project, within
from torchkeep.errors import SettingsError
from torchkeep.threat_model import Norm, ThreatModel

STARTS = 100
"""Images of noise that are asked for a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSkipJump(Attack):
    """ART's HopSkipJump, one image after the other; what ends outside the radius is drawn back."""

    threat: ThreatModel
    iterations: int = 30
    evaluations: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.evaluations) < 1:
            raise SettingsError("HopSkipJump needs 1 or more iterations and evaluations")
        if self.threat.norm is Norm.L1:
            raise SettingsError("HopSkipJump knows linf and l2", remedy="Use square in l1.")

    def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        state = np.random.get_state()
        np.random.seed(self.seed)  # ART draws from numpy's global stream
        try:
            made = [
                self._move(model, image[None], label[None], generator)
                for image, label in zip(images, labels, strict=True)
            ]
        finally:
            np.random.set_state(state)
        return torch.cat(made) if made else images

    def _move(
        self, model: nn.Module, image: Tensor, label: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Attack one image (1 C H W); it stays as it is if no start is found."""
        start = _start(model, image, label, generator)
        if start is None:
            return image
        made = self._attack(_art_classifier(model, image)).generate(
            image.cpu().numpy(), label.cpu().numpy(), x_adv_init=start.cpu().numpy()
        )
        found = torch.from_numpy(made.astype(np.float32)).to(image.device)
        if within(image, found, self.threat).all():
            return found
        return image + project(image, found - image, self.threat)

    def _attack(self, classifier: Any) -> Any:
        from art.attacks.evasion import HopSkipJump as ArtHopSkipJump

        return ArtHopSkipJump(
            classifier,
            norm=np.inf if self.threat.norm is Norm.LINF else 2,
            max_iter=self.iterations,
            max_eval=self.evaluations,
            init_eval=min(self.evaluations, 100),
            verbose=False,
        )


@torch.no_grad()
def _start(
    model: nn.Module, image: Tensor, label: Tensor, generator: torch.Generator
) -> Tensor | None:
    """Return noise that is another class; ART's own search has no seed."""
    noise = torch.rand((STARTS, *image.shape[1:]), generator=generator).to(image)
    fooling = torch.nonzero(model(noise).argmax(1) != label).flatten()
    return noise[fooling[:1]] if len(fooling) else None


def _art_classifier(model: nn.Module, images: Tensor) -> Any:
    """Wrap the model so that ART sees answers and nothing else."""
    prepare()
    from art.estimators.classification import BlackBoxClassifier

    @torch.no_grad()
    def answer(batch: NDArray[Any]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.asarray(batch, np.float32)).to(images.device)
        probabilities: NDArray[np.float32] = model(pixels).softmax(1).cpu().numpy()
        return probabilities

    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    shape = tuple(images.shape[1:])
    return BlackBoxClassifier(answer, shape, classes, clip_values=(0.0, 1.0))
