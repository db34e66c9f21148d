"""What tests of several folders share: small real data and a small real model.

Torch is imported only by the fixtures that need it, so that light tests stay light.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact
    from torchkeep.data import Dataset, Splits

pytest_plugins = ["tests.skip_policy"]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread gives one result, and tests share cores


LONGEST_FILES = ("tests/training/test_processes.py", "tests/cli/test_evaluate.py")
"""Begun first where several processes share the files: else one of them is alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST_FILES))


def quiet(step: str, done: int, total: int) -> None:
    """Report no progress."""


@pytest.fixture(scope="session")
def digits_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """1,797 grey digits of 8 × 8 pixels."""
    from torchkeep.data import DataConfig, load_dataset

    return load_dataset("digits", config=DataConfig(directory=tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def digits(digits_dataset: Dataset) -> Splits:
    from torchkeep.data import SplitSpec, split

    return split(digits_dataset, SplitSpec())


@pytest.fixture(scope="session")
def digits_artifact(
    digits_dataset: Dataset, digits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> ModelArtifact:
    """A small network trained on digits, with detectors; never change it in place."""
    import torch

    from robustness.fitting import DetectorConfig, fit_detectors
    from training.recipes import recipe
    from training.run import train_artifact

    config = replace(recipe("digits-quick"), epochs=8, evaluation_images=50, evaluation_restarts=1)
    path = tmp_path_factory.mktemp("artifacts") / "digits-1.0"
    cpu = torch.device("cpu")
    artifact = train_artifact(digits_dataset, digits, config, path, device=cpu, progress=quiet)
    detectors = DetectorConfig(fit_images=600, background_images=300, epochs=5, attack_steps=5)
    return fit_detectors(artifact, digits, detectors, cpu, quiet)
