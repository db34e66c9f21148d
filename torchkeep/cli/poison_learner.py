"""The network that a scan for poison trains: small, quick, and by the same loop as any other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torchkeep.progress import Report

if TYPE_CHECKING:
    import torch

    from robustness.poisoning.evidence import Learn
    from torchkeep.architectures import Classifier
    from torchkeep.data import ImageSet
    from training.config import TrainConfig

WATCHED = 200
"""Images whose accuracy is measured after each epoch; nothing is decided by it."""
COLOUR_OPTIONS = {"width": 32, "hidden": 200}


def scan_recipe(name: str | None, channels: int) -> TrainConfig:
    """Return the named training, or a small network's natural one."""
    from training.recipes import recipe

    if name is not None:
        return recipe(name)
    config = recipe("mnist-natural")
    return config if channels == 1 else replace(config, options=COLOUR_OPTIONS)


def learner(config: TrainConfig, classes: int, device: torch.device, report: Report) -> Learn:
    """Return a function that trains the configuration's network on some images."""
    from torchkeep.image_shape import ImageShape
    from training.fit import fit

    def learn(images: ImageSet, *, seed: int, step: str) -> Classifier:
        channels, height, width = images.shape
        fitted = fit(
            replace(config, seed=seed),
            ImageShape(channels=channels, height=height, width=width),
            classes,
            images,
            images.subset(range(min(WATCHED, len(images)))),
            device=device,
            progress=lambda _, done, total: report(step, done, total),
        )
        return fitted.model

    return learn
