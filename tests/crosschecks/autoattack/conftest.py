"""The default MNIST network, trained anew, and its test images."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import quiet
from torchkeep.artifact import ModelArtifact
from torchkeep.data import ImageSet
from training.material import Material
from training.recipes import recipe
from training.run import train_artifact


@pytest.fixture(scope="module")
def mnist() -> Material:
    return Material.load("mnist")


@pytest.fixture(scope="module")
def mnist_test(mnist: Material) -> ImageSet:
    return mnist.splits.test


@pytest.fixture(scope="module")
def mnist_artifact(mnist: Material, tmp_path_factory: pytest.TempPathFactory) -> ModelArtifact:
    path = tmp_path_factory.mktemp("mnist") / "mnist-1.0"
    config, cpu = recipe("mnist-quick"), torch.device("cpu")
    return train_artifact(mnist.dataset, mnist.splits, config, path, device=cpu, progress=quiet)
