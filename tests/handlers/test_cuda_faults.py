"""A worker outlives a lack of memory, and ends when its GPU is lost to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from handlers.cuda_faults import EXIT_STATUS, end_worker_if_fatal, is_out_of_memory

ROOT = Path(__file__).parents[2]
ASSERTED = "CUDA error: device-side assert triggered"


def accelerator_error(code: int) -> torch.AcceleratorError:
    error = torch.AcceleratorError("CUDA error: something")
    error.error_code = code
    return error


def test_a_lack_of_memory_is_known_by_type_or_code() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(accelerator_error(2))
    assert not is_out_of_memory(accelerator_error(710))
    assert not is_out_of_memory(RuntimeError("CUDA out of memory"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        accelerator_error(2),
        RuntimeError(ASSERTED),
        ValueError("no GPU at all"),
    ],
)
def test_what_a_worker_outlives(error: Exception) -> None:
    end_worker_if_fatal(error)  # had it ended the process, there would be no next line
    assert torch.zeros(1) == 0


WORKER = """
import sys, logging
from pathlib import Path
import numpy as np, torch
from handlers.config import LimitsConfig, ScreeningConfig
from handlers.request import Request
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.screened_model import load_screened_model
from torchkeep.artifact import ModelArtifact
from torchkeep.schema import Operation

logging.basicConfig(stream=sys.stderr)
artifact = ModelArtifact.load(Path(sys.argv[1]))
model = load_screened_model(artifact, "cpu")
service = Service(
    model, ServedModel.of(artifact, model, "0"),
    RequestLog(RequestLogConfig(), directory=Path(sys.argv[2])),
    limits=LimitsConfig(), screening=ScreeningConfig(), log_config=RequestLogConfig(),
)
request = Request(body=bytes(64), protocol="rest", operation=Operation(sys.argv[3]))
print("answered", service.answer([request])[0].http_status, flush=True)

class CudaError(torch.cuda.CudaError):
    def __init__(self, text):  # the library's own asks the driver for the text
        RuntimeError.__init__(self, text)

def lose_the_gpu(*_, **__):
    raise {error}("CUDA error: device-side assert triggered\\nCompile with ...")

{place}
service.answer([request])
print("outlived it", flush=True)
"""
IN_FORWARD = "model.register_forward_pre_hook(lose_the_gpu)"
IN_EXPLANATION = "import handlers.service; handlers.service.explain = lose_the_gpu"


@pytest.mark.parametrize(
    ("operation", "place", "error"),
    [
        ("predict", IN_FORWARD, "torch.AcceleratorError"),
        ("predict", IN_FORWARD, "CudaError"),
        ("explain", IN_EXPLANATION, "torch.AcceleratorError"),
    ],
)
def test_a_worker_without_its_gpu_ends_at_once(
    digits_artifact: object, tmp_path: Path, operation: str, place: str, error: str
) -> None:
    path = digits_artifact.path  # type: ignore[attr-defined]
    script = WORKER.replace("{error}", error).replace("{place}", place)
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path / "log"), operation],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == EXIT_STATUS, ended.stderr
    assert ended.stdout == "answered 200\n"
    assert "this worker ends, for it has lost its GPU" in ended.stderr
    lines = [line for file in (tmp_path / "log").iterdir() for line in file.read_text().split("\n")]
    assert len(list(filter(None, lines))) == 1  # what was answered is in the log, and whole
