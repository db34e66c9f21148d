"""Randomized smoothing here and by ART: the same counts, and how long each takes for them.

Run `python -m loadtests.benchmarks.certification [--json]`. First both count votes under the same
noise (numpy's stream, as ART draws it), which must agree. Then they certify the same images in
turns within one process, so that a noisy machine is noisy for both; medians are compared. ART is
timed with batches of 32, its default, and of the size used here. Weights are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loadtests.benchmarks.screening_overhead import machine
from robustness.art_library import prepare
from robustness.certification.smoothing import Noise, Smoothing, certify, counts, seeded_noise
from torchkeep.architectures import Classifier, build
from torchkeep.image_shape import ImageShape

ART_BATCH = 32
CASES = {
    "digits": ImageShape(channels=1, height=8, width=8),
    "mnist": ImageShape(channels=1, height=28, width=28),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Medians in ms per image over `rounds` turns; `same_counts` is what was checked first."""

    case: str
    device: str
    draws: int
    rounds: int
    same_counts: bool
    ours_ms: float
    art_ms: float
    art_large_batch_ms: float
    times_faster: float
    times_faster_large_batch: float


def art_noise(image: Tensor, sigma: float) -> Noise:
    """Return the noise that ART draws: numpy's global stream, scaled, then cast to float32."""

    def draw(count: int) -> Tensor:
        scaled = np.random.normal(scale=sigma, size=(count, *image.shape)).astype(np.float32)
        return torch.from_numpy(scaled).to(image.device) / sigma

    return draw


def reference(model: Classifier, shape: ImageShape, smoothing: Smoothing, device: str) -> Any:
    """Return ART's smoothed classifier around the same network."""
    prepare()
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    return PyTorchRandomizedSmoothing(
        model,
        nn.CrossEntropyLoss(),
        shape.chw,
        10,
        device_type="gpu" if device.startswith("cuda") else "cpu",
        sample_size=smoothing.selection,
        scale=smoothing.sigma,
        alpha=smoothing.alpha,
    )


def same_counts(art: Any, model: Classifier, image: Tensor, smoothing: Smoothing) -> bool:
    """Return whether both count the same votes under the same noise."""
    np.random.seed(0)
    theirs = art._prediction_counts(image.cpu().numpy(), n=smoothing.draws)
    np.random.seed(0)
    ours = counts(model, image, smoothing.draws, smoothing, art_noise(image, smoothing.sigma))
    return bool((ours.cpu().numpy() == theirs).all())


def measure(case: str, draws: int, rounds: int, device: str) -> Speed:
    """Compare the counts, then time all three in turn, an image a turn."""
    shape, smoothing = CASES[case], Smoothing(draws=draws)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("small_cnn", shape, 10, {}).eval().requires_grad_(False).to(device)
    image = torch.rand(shape.chw, generator=torch.Generator().manual_seed(0)).to(device)
    art, pixels = reference(model, shape, smoothing, device), image.cpu().numpy()[None]
    sides: tuple[Callable[[], Any], ...] = (
        lambda: certify(model, image, smoothing, seeded_noise(image, 0)),
        lambda: art.certify(pixels, n=draws, batch_size=ART_BATCH),
        lambda: art.certify(pixels, n=draws, batch_size=smoothing.batch),
    )
    agree = same_counts(art, model, image, smoothing)
    turns = [[_ms(side) for side in sides] for _ in range(rounds + 1)][1:]  # the first warms up
    ours, usual, large = (statistics.median(times) for times in zip(*turns, strict=True))
    return Speed(
        case=case,
        device=device,
        draws=draws,
        rounds=rounds,
        same_counts=agree,
        ours_ms=round(ours, 2),
        art_ms=round(usual, 2),
        art_large_batch_ms=round(large, 2),
        times_faster=round(usual / ours, 2),
        times_faster_large_batch=round(large / ours, 2),
    )


def _ms(side: Callable[[], Any]) -> float:
    """Return the ms of a call; both sides end with counts on the host, so nothing is pending."""
    start = time.perf_counter()
    side()
    return 1000 * (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row a case; returns 1 if counts differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--draws", type=int, default=10_000, help="noisy copies an image")
    parser.add_argument("--rounds", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--only", choices=sorted(CASES), help="measure one case")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    cases = [chosen.only] if chosen.only else list(CASES)
    results = [measure(case, chosen.draws, chosen.rounds, chosen.device) for case in cases]
    if chosen.json:
        document = {"machine": machine(), "results": [asdict(result) for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(f"{machine()}\n")
        for row in results:
            sys.stdout.write(
                f"{row.case} on {row.device}, {row.draws} draws, "
                f"{'same' if row.same_counts else 'OTHER'} counts: {row.ours_ms:.1f} ms an image, "
                f"ART {row.art_ms:.1f} ms ({row.times_faster:.1f} times), ART in large batches "
                f"{row.art_large_batch_ms:.1f} ms ({row.times_faster_large_batch:.1f} times)\n"
            )
    return 0 if all(result.same_counts for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
