"""What screening and logging add to a handler's time: the same requests, with and without.

Run `python -m loadtests.benchmarks.screening_overhead [--json]`. Both sides decode the same raw
uint8 tensor of 16 images, run the same network and encode an answer; one also runs the detector
heads, summarises inputs, builds records and writes them to a file. The two take turns of a few
calls within one process, so that a noisy machine is noisy for both; medians are compared. Weights
are random: the time of a pass does not depend on what was learnt.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.config import LimitsConfig, ScreeningConfig
from handlers.request import Request, Response
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.fusion import Fusion
from robustness.heads import ActivationHead, SubsetScanHead
from robustness.screened_model import ScreenedModel, embedding_projection
from torchkeep import __version__
from torchkeep.architectures import Classifier, build
from torchkeep.image_shape import ImageShape

BATCH = 16
CLASSES = tuple(str(digit) for digit in range(10))
BACKGROUND = 256
CALIBRATION = 3600
CALLS_A_TURN = 20
CASES = {
    "small_cnn": (ImageShape(channels=1, height=28, width=28), 60),
    "resnet18": (ImageShape(channels=3, height=32, width=32), 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Medians in ms per call of 16 images; `share` is the added time over the full time."""

    architecture: str
    batch: int
    rounds: int
    bare_ms: float
    full_ms: float
    added_ms: float
    share: float


def screened_model(classifier: Classifier, shape: ImageShape) -> ScreenedModel:
    """Put detector heads of the usual sizes around a classifier."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BACKGROUND, *shape.chw, generator=generator)
    with torch.no_grad():
        seen = torch.cat([classifier.activations(part)[0] for part in torch.split(images, 50)])
    activation = ActivationHead(seen.shape[1])
    activation.standardise_by(seen)
    scan = SubsetScanHead(seen.shape[1] - classifier.head.in_features, BACKGROUND)
    scan.learn_background(seen)
    return ScreenedModel(
        classifier,
        [("activation", activation), ("subset_scan", scan)],
        fusion=Fusion(torch.randn(2, CALIBRATION, generator=generator)),
        fused_scores=torch.randn(CALIBRATION, generator=generator),
        projection=embedding_projection(classifier.head.in_features, 0),
        threshold=5.0,
        calibration_id="benchmark",
        classes=CLASSES,
        input_shape=shape.chw,
    )


def full_side(model: ScreenedModel, directory: Path) -> Callable[[bytes], Response]:
    """Return the handler as it serves."""
    log_config = RequestLogConfig(directory=directory)
    about = ServedModel(
        name="benchmark",
        version="1.0",
        digest="0" * 64,
        code_version=__version__,
        device="cpu",
        threshold=model.threshold,
        calibration_id=model.calibration_id,
        head_names=model.head_names,
    )
    service = Service(
        model,
        about,
        RequestLog(log_config),
        limits=LimitsConfig(),
        screening=ScreeningConfig(),
        log_config=log_config,
    )
    return lambda body: service.answer([Request(body=body, protocol="rest")])[0]


def bare_side(classifier: Classifier, shape: ImageShape) -> Callable[[bytes], bytes]:
    """Return the least a handler must do: tensor in, network, labels and probabilities out."""

    @torch.inference_mode()
    def answer(body: bytes) -> bytes:
        pixels = np.frombuffer(body, np.uint8).reshape(-1, *shape.chw)
        images = torch.from_numpy(pixels.copy()).float().div_(255)
        probabilities = classifier(images).softmax(1).numpy()
        rows = zip(probabilities.argmax(1).tolist(), probabilities.tolist(), strict=True)
        answers = [{"label": CLASSES[index], "probabilities": row} for index, row in rows]
        return json.dumps({"predictions": answers}).encode()

    return answer


def measure(architecture: str, directory: Path) -> Overhead:
    """Time both sides in turn on one architecture."""
    shape, rounds = CASES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = build(architecture, shape, len(CLASSES), {}).eval().requires_grad_(False)
    bare = bare_side(classifier, shape)
    full = full_side(screened_model(classifier, shape), directory)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, *shape.chw), dtype=np.uint8)
    body = pixels.tobytes()
    gc.collect()
    gc.freeze()  # as a worker does once it is warm
    bare_ms, full_ms = [], []
    for turn in range(rounds + 1):
        first, second = _time(bare, body), _time(full, body)
        if turn:  # the first turn warms up
            bare_ms.append(first)
            full_ms.append(second)
    added = statistics.median(f - b for b, f in zip(bare_ms, full_ms, strict=True))
    return Overhead(
        architecture=architecture,
        batch=BATCH,
        rounds=rounds,
        bare_ms=round(statistics.median(bare_ms), 3),
        full_ms=round(statistics.median(full_ms), 3),
        added_ms=round(added, 3),
        share=round(added / statistics.median(full_ms), 4),
    )


def _time(side: Callable[[bytes], Any], body: bytes) -> float:
    """Return the median ms of a block of calls: a server, too, does one thing for long."""
    times = []
    for _ in range(CALLS_A_TURN):
        start = time.perf_counter()
        side(body)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def machine() -> dict[str, str | int]:
    """Describe what the numbers were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for each architecture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--only", choices=sorted(CASES), help="measure one architecture")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as directory:
        names = [chosen.only] if chosen.only else list(CASES)
        results = [measure(name, Path(directory) / name) for name in names]
    if chosen.json:
        document = {"machine": machine(), "results": [asdict(result) for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(f"{machine()}\n")
    for result in results:
        sys.stdout.write(
            f"{result.architecture}, batch {result.batch}: bare {result.bare_ms:.2f} ms, "
            f"screened and logged {result.full_ms:.2f} ms, added {result.added_ms:.2f} ms "
            f"({result.share:.1%})\n"
        )


if __name__ == "__main__":
    main()
