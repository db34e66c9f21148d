"""A defended classifier as an attacker should meet it (Athalye et al. 2018, section 4).

Shapes: B batch, C H W an image, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustness.preprocessing.preprocessing import Preprocessing
from torchkeep.errors import SettingsError


class Defended(nn.Module):
    """Preprocessing, then classifier, with a gradient that passes both.

    Without gradients it answers as served. With them, a random defence answers the mean logits of
    `samples` draws: expectation over transformation.
    """

    def __init__(
        self, preprocessing: Preprocessing, classifier: nn.Module, *, samples: int = 8
    ) -> None:
        super().__init__()
        if samples < 1:
            raise SettingsError(f"{samples} samples of a random defence", remedy="At least 1.")
        self.preprocessing = preprocessing
        self.classifier = classifier
        self.samples = samples

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: B C H W to B K."""
        passing = images.requires_grad and torch.is_grad_enabled()
        draws = self.samples if self.preprocessing.random and passing else 1
        logits = [
            self.classifier(self.preprocessing.stand_in(images, draw)) for draw in range(draws)
        ]
        return torch.stack(logits).mean(0)
