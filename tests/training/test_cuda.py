"""Training on GPUs; runs where there are some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import quiet
from tests.training.conftest import SHAPE, short
from tests.training.processes import Processes
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from training.config import Execution, Precision
from training.fit import fit
from training.recipes import METHODS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_on_a_gpu(digits: Splits, method: str) -> None:
    config = short(f"digits-{method}", epochs=12)
    gpu = torch.device("cuda", 0)
    fitted = fit(config, SHAPE, 10, digits.train, digits.validation, device=gpu, progress=quiet)
    assert fitted.training.epochs[-1].accuracies["clean_accuracy"] > 0.8
    assert next(fitted.model.parameters()).device == gpu


@pytest.mark.parametrize("resident_bytes", [0, 2**30])
def test_half_precision_channels_last_and_compiled(digits: Splits, resident_bytes: int) -> None:
    execution = Execution(
        precision=Precision.BFLOAT16,
        channels_last=True,
        compile=True,
        resident_bytes=resident_bytes,
    )
    config = replace(short("digits-trades", epochs=6), execution=execution)
    gpu = torch.device("cuda", 0)
    fitted = fit(config, SHAPE, 10, digits.train, digits.validation, device=gpu, progress=quiet)
    assert fitted.training.epochs[-1].accuracies["clean_accuracy"] > 0.8


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs CUDA devices, two of them")
def test_two_gpus_train_together(tmp_path: Path) -> None:
    training = Processes(tmp_path)
    done = training.run("--recipe", "digits-quick", "--device", "cuda", processes=2)
    assert done.returncode == 0, done.stderr
    artifact = ModelArtifact.load(tmp_path / ".torchkeep" / "artifacts" / "digits-1.0")
    assert artifact.manifest.train_record["world_size"] == 2
