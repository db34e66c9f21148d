"""How fast training is: images a second for 1 and more processes, beside the bare ceiling.

Run `python -m loadtests.benchmarks.training [--json] [--device cuda]`. Three sides take turns: the
loop of `torchkeep train` in one process, the same in several (torchrun, Gloo or NCCL), and the
least there is: forward passes, backward passes and Adam steps of the same network on one batch
that lies on the device already, as many passes as the recipe's attack needs. Shown are
medians over the turns, images a second over all processes, and the share of the time in which the
loop waited for images. Data is random: time does not depend on it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from loadtests.benchmarks.screening_overhead import machine
from torchkeep.architectures import build
from torchkeep.data import ImageSet
from torchkeep.image_shape import ImageShape
from training.config import Precision, TrainConfig
from training.distributed import connected, place
from training.fit import fit
from training.objectives import PGDAT, FastAT, Natural
from training.objectives.adversarial import Adversarial
from training.recipes import recipe

SHAPES = {
    "small_cnn": ImageShape(channels=1, height=28, width=28),
    "resnet18": ImageShape(channels=3, height=32, width=32),
}
CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Images a second of one side, and what the loop waited for."""

    side: str
    images_per_s: float
    loading_share: float


def measure_loop(config: TrainConfig, device: str, images: int) -> Speed:
    """Train one epoch in this process's world, and say how fast."""
    world = place(device)
    shape = SHAPES[config.architecture]
    with connected(world):
        fitted = fit(
            replace(config, epochs=1, watch=replace(config.watch, images=1, steps=1)),
            shape,
            CLASSES,
            random_images(images, shape),
            random_images(10, shape),
            device=world.device,
            progress=lambda step, done, total: None,
            world=world,
        )
    training = fitted.training
    return Speed(
        side=f"{world.size} process(es)",
        images_per_s=training.images_per_s,
        loading_share=training.loading_share,
    )


def measure_ceiling(config: TrainConfig, device: torch.device, images: int) -> Speed:
    """Time bare steps: as many forward and backward passes as the recipe makes for a batch."""
    shape = SHAPES[config.architecture]
    torch.manual_seed(0)
    model = build(config.architecture, shape, CLASSES, config.options).to(device)
    if config.execution.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters())
    batch = torch.rand(config.batch_size, *shape.chw, device=device)
    labels = torch.randint(CLASSES, (config.batch_size,), device=device)
    steps = max(1, images // config.batch_size)
    half = config.execution.precision is Precision.BFLOAT16
    started = 0.0
    for step in range(steps + 2):
        if step == 2:  # the first steps warm up
            _wait(device)
            started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            for _ in range(config.objective.attack_steps(0)):
                moved = batch.detach().requires_grad_()
                torch.autograd.grad(F.cross_entropy(model(moved), labels), moved)
            loss = F.cross_entropy(model(batch), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    _wait(device)
    seconds = time.perf_counter() - started
    return Speed(
        side="bare steps", images_per_s=steps * config.batch_size / seconds, loading_share=0.0
    )


def random_images(count: int, shape: ImageShape) -> ImageSet:
    """Return images of noise with labels in turn."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape.chw), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64) % CLASSES)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _several(arguments: argparse.Namespace) -> Speed:
    """Run this module's loop in several processes, and read what the leader writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speed.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={arguments.processes}", "-m", __spec__.name]
        command += ["--recipe", arguments.recipe, "--images", str(arguments.images)]
        command += ["--device", arguments.device, "--leader-writes", str(file)]
        command += ["--threads", str(arguments.threads)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True)  # noqa: S603 - our own module
        return Speed(**json.loads(file.read_bytes()))


def _alone(arguments: argparse.Namespace, config: TrainConfig) -> list[Speed]:
    """Take turns between the sides; return the medians."""
    device = place(arguments.device).device
    turns = []
    for _ in range(arguments.turns):
        turns.append(
            [
                measure_ceiling(config, device, arguments.images),
                measure_loop(config, arguments.device, arguments.images),
                _several(arguments),
            ]
        )
    return [
        Speed(
            side=side[0].side,
            images_per_s=round(statistics.median(turn.images_per_s for turn in side), 1),
            loading_share=round(statistics.median(turn.loading_share for turn in side), 4),
        )
        for side in zip(*turns, strict=True)
    ]


def _fully_grown(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the attack at its full size from the start."""
    if isinstance(config.objective, Adversarial):
        return replace(config, objective=replace(config.objective, warm_up=0.0))
    return config


def main(words: Sequence[str] | None = None) -> None:
    """Print one row for each side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="mnist-quick", help="whose network and attack")
    parser.add_argument("--images", type=int, default=10_000, help="images of a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns; medians are shown")
    parser.add_argument("--processes", type=int, default=2, help="processes of the third side")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch a process")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--leader-writes", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    config = _fully_grown(recipe(arguments.recipe))
    if not isinstance(config.objective, Natural | FastAT | PGDAT):
        parser.error("only natural, quick and pgd recipes are the bare steps that they are beside")
    if arguments.leader_writes:
        speed = measure_loop(config, arguments.device, arguments.images)
        if place(arguments.device).leads:
            arguments.leader_writes.write_text(json.dumps(asdict(speed)))
        return
    results = _alone(arguments, config)
    if arguments.json:
        document = {
            "machine": machine(),
            "recipe": config.recipe,
            "results": [asdict(result) for result in results],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    sys.stdout.write(f"{machine()}\n")
    ceiling = results[0].images_per_s
    for result in results:
        sys.stdout.write(
            f"{config.recipe}, {result.side}: {result.images_per_s:,.0f} images/s "
            f"({result.images_per_s / ceiling:.2f} of the bare steps), "
            f"waiting for images {result.loading_share:.1%}\n"
        )


if __name__ == "__main__":
    main()
