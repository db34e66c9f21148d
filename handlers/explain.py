"""Which pixels made the model decide as it did: integrated gradients by Captum.

Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", from a black image:
the attributions of an item sum up to how much its logit rises from that of the black image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

METHOD = "integrated_gradients"
MAX_PASS = 64
"""Interpolated images that share one pass forward and back; bounds memory."""


def explain(
    classifier: nn.Module,
    images: NDArray[np.float32],
    targets: Sequence[int],
    *,
    device: torch.device,
    steps: int,
) -> NDArray[np.float32]:
    """Return attributions B C H W of the target classes' logits, for B C H W images in 0..1."""
    from captum.attr import IntegratedGradients  # takes seconds, and few workers ever explain

    attributions = IntegratedGradients(classifier).attribute(
        torch.from_numpy(images).to(device),
        target=torch.tensor(targets, device=device),
        n_steps=steps,
        internal_batch_size=MAX_PASS,
    )
    values: NDArray[np.float32] = attributions.detach().cpu().numpy().astype(np.float32)
    return values
