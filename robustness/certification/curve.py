"""Certified accuracy over the radius. Shapes: N images C H W, E radii."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustness.certification import interval_bounds, linear_bounds
from torchkeep.architectures import Classifier
from torchkeep.errors import SettingsError

Certify = Callable[[Classifier, Tensor, Tensor, float], Tensor]

METHODS: dict[str, Certify] = {
    "interval": interval_bounds.certified,
    "linear": linear_bounds.certified,
}
"""Proofs in Linf: of images, labels and a radius, which images (N) hold."""


def certified_at(
    method: str, model: Classifier, images: Tensor, labels: Tensor, radii: Sequence[float]
) -> NDArray[np.bool_]:
    """Return which images are right and proved at each radius: N E.

    A proof at a radius is one at each smaller one, so what fails is not tried further out. Raises
    `SettingsError` for radii that do not ascend within 0..1, or a network without rules.
    """
    ordered = list(radii)
    if not ordered or ordered != sorted(set(ordered)) or not 0 < ordered[0] <= ordered[-1] <= 1:
        raise SettingsError(f"radii {ordered}", remedy="Give them ascending, above 0, up to 1.")
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    columns = []
    for radius in ordered:
        left = torch.nonzero(right).flatten()
        proved = torch.zeros_like(right)
        if len(left):
            proved[left] = METHODS[method](model, images[left], labels[left], radius)
        columns.append(proved.cpu().numpy())
        right = proved
    return np.stack(columns, axis=1)


def has_rules(model: Classifier, images: Tensor) -> bool:
    """Whether bounds know a rule for every layer; tried on one of the images."""
    labels = torch.zeros(1, dtype=torch.long, device=images.device)
    try:
        interval_bounds.certified(model, images[:1], labels, 1e-6)
    except SettingsError:
        return False
    return True
