from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import pytest
import torch

from tests.conftest import quiet
from torchkeep.data import ImageSet, Splits
from torchkeep.image_shape import ImageShape
from training.config import TrainConfig
from training.distributed import World, alone
from training.fit import Fitted, fit
from training.recipes import recipe
from training.run_folder import RunFolder

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=1, height=8, width=8)


class Fit(Protocol):
    def __call__(self, config: TrainConfig, folder: RunFolder | None = None) -> Fitted: ...


def short(name: str = "digits-quick", **changes: Any) -> TrainConfig:
    """Return a recipe of two epochs that is hardly evaluated."""
    few = {
        "epochs": 2,
        "evaluation_images": 20,
        "evaluation_steps": 2,
        "evaluation_restarts": 1,
    }
    return replace(recipe(name), **(few | changes))


def few(images: ImageSet, count: int) -> ImageSet:
    return images.subset(range(min(count, len(images))))


@pytest.fixture
def world() -> World:
    return alone(CPU)


@pytest.fixture
def fit_few(digits: Splits) -> Fit:
    """Fit on 200 digits, watched on 40."""

    def run(config: TrainConfig, folder: RunFolder | None = None) -> Fitted:
        return fit(
            config,
            SHAPE,
            10,
            few(digits.train, 200),
            few(digits.test, 40),
            device=CPU,
            progress=quiet,
            folder=folder,
        )

    return run
