"""What only a GPU can show: compiled and recorded forward passes, bfloat16, lost devices."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.config import Compile, ServingConfig
from handlers.cuda_faults import EXIT_STATUS
from handlers.forward import Forward
from robustness.fitting import DetectorConfig, fit_detectors
from robustness.screened_model import ScreenedBatch, load_screened_model
from tests.conftest import quiet
from tests.skip_policy import NEEDS_CUDA
from torchkeep.artifact import ModelArtifact
from torchkeep.data import Splits
from torchkeep.dtype import Dtype

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason=f"{NEEDS_CUDA}: kernels are compiled and run on it"
)

ROOT = Path(__file__).parents[2]
QUICK = DetectorConfig(fit_images=300, background_images=100, epochs=3, attack_steps=3)
SIZES = (1, 4, 16)


@pytest.fixture(scope="module", params=list(Dtype))
def on_gpu(
    request: pytest.FixtureRequest,
    digits_artifact: ModelArtifact,
    digits: Splits,
    tmp_path_factory: pytest.TempPathFactory,
) -> ModelArtifact:
    """The small network, calibrated on the GPU in each dtype."""
    path = tmp_path_factory.mktemp(f"gpu-{request.param}") / "digits-1.0"
    shutil.copytree(digits_artifact.path, path)
    config = replace(QUICK, dtype=request.param)
    return fit_detectors(ModelArtifact.load(path), digits, config, torch.device("cuda"), quiet)


def assert_alike(one: ScreenedBatch, other: ScreenedBatch, dtype: str) -> None:
    """Fused kernels round less often: with 8 bits of precision, scores may differ by much."""
    reduced = dtype == Dtype.BFLOAT16
    tolerance = 0.05 if reduced else 5e-3
    for name in ("probabilities",) if reduced else ("probabilities", "score", "p_value"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", list(Compile))
def test_however_it_is_served_the_answers_are_those_of_the_model(
    on_gpu: ModelArtifact, digits: Splits, kind: Compile, channels_last: bool
) -> None:
    plain = load_screened_model(on_gpu, "cuda")
    calibration = dict(on_gpu.manifest.screening or {})["calibration"]
    config = ServingConfig(compile=kind, channels_last=channels_last, size_classes=SIZES)
    served = Forward(load_screened_model(on_gpu, "cuda"), config, most=16)
    served.warm_up()
    # sizes to and fro: a recording must not answer with what the one before it left behind
    for count in (1, 3, 16, 2, 4, 1):
        images = digits.test.images[count : 2 * count]
        (part,) = served.screen(images)
        assert part.batch is not None
        assert_alike(part.batch, plain.screen(images), calibration["dtype"])


def test_a_batch_that_does_not_fit_goes_through_in_halves(
    on_gpu: ModelArtifact, digits: Splits
) -> None:
    model = load_screened_model(on_gpu, "cuda")
    total = torch.cuda.get_device_properties(0).total_memory

    def hook(module: object, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) == 8:
            torch.empty(2 * total, dtype=torch.uint8, device="cuda")

    model.register_forward_pre_hook(hook)
    parts = Forward(model, ServingConfig(), most=8).screen(digits.test.images[:8])
    assert [(part.items, part.fault) for part in parts] == [(4, ""), (4, "")]


LOSE_IT = """
import logging, sys
import numpy as np, torch
from pathlib import Path
from handlers.config import ServingConfig
from handlers.forward import Forward
from robustness.screened_model import load_screened_model
from torchkeep.artifact import ModelArtifact

logging.basicConfig(stream=sys.stderr)
model = load_screened_model(ModelArtifact.load(Path(sys.argv[1])), "cuda")
images = np.zeros((2, *model.input_shape), dtype=np.uint8)
served = Forward(model, ServingConfig(), most=2)
print(served.screen(images)[0].fault == "", flush=True)

def read_out_of_bounds(*_):
    torch.zeros(3, device="cuda")[torch.tensor([7], device="cuda")].sum()

model.register_forward_pre_hook(read_out_of_bounds)
served.screen(images)
print("outlived it", flush=True)
"""


def test_a_device_side_assertion_ends_the_worker(on_gpu: ModelArtifact) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOSE_IT, str(on_gpu.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == EXIT_STATUS, ended.stderr
    assert ended.stdout == "True\n"
    assert "device-side assert" in ended.stderr


def test_an_answer_outlives_the_next_replay(on_gpu: ModelArtifact, digits: Splits) -> None:
    config = ServingConfig(compile=Compile.CUDA_GRAPHS, size_classes=(4,))
    served = Forward(load_screened_model(on_gpu, "cuda"), config, most=4)
    images: NDArray[np.uint8] = digits.test.images[:4]
    (first,) = served.screen(images)
    before = first.batch and first.batch.probabilities.copy()
    served.screen(images[::-1].copy())
    assert first.batch is not None
    np.testing.assert_array_equal(first.batch.probabilities, before)
