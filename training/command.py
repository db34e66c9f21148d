"""The command `torchkeep train`, which is `python -m training`, too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from torchkeep.output import AsJson, print_json
from torchkeep.paths import Home
from torchkeep.progress import Report, progress

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact


def train(
    recipe: Annotated[
        str, typer.Option(help="Named training, <data>-<method>; see below.")
    ] = "mnist-quick",
    data: Annotated[
        str | None, typer.Option(help="Data set or folder, in place of the recipe's.")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Cleaned index of that data, from torchkeep scan-poison --drop."),
    ] = None,
    unscanned: Annotated[
        bool, typer.Option("--unscanned", help="Train on data that was not scanned for poison.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Model name, in place of the recipe's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model that is made.")] = "1.0",
    parent: Annotated[
        Path | None, typer.Option(help="Artifact whose weights to start from.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the artifact; by default .torchkeep/artifacts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Epochs, in place of the recipe's.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of one step, over all processes together.")
    ] = None,
    eps: Annotated[
        float | None, typer.Option(help="Radius of the threat model, for pixels in 0..1.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:N, or auto: a GPU if there is one.")
    ] = "cpu",
    processes: Annotated[
        int, typer.Option(help="Processes on this machine: one for each GPU.")
    ] = 1,
    restarts: Annotated[
        int, typer.Option(help="With several processes: how often to go on after one died.")
    ] = 0,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="bfloat16 means autocast.")
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option(help="Keep the channels of a pixel together in memory.")
    ] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network first.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Pieces in which each process computes its part of a batch.")
    ] = None,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Most steps between two checkpoints.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, whatever checkpoint there is.")
    ] = False,
    max_minutes: Annotated[
        float | None, typer.Option(help="End this run at a checkpoint then, with exit code 4.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train an image classifier to be hard to fool, and measure it on clean and attacked images.

    Recipes are <data>-<method>. Data: mnist, fashion, cifar10, digits. Methods: natural, quick
    (fast adversarial training), pgd, trades, trades-awp, ibp (certified), smoothing, augmix.

    A training that was broken off goes on at its last checkpoint when the same command is run
    again. Several processes, on this machine (--processes) or on many (torchrun ... -m training),
    share each batch. Exit code 3: the training failed in all processes, as by a loss that is not
    finite or a process that died; 4: the time was up.

    Examples:
        torchkeep train --recipe digits-quick

        torchkeep train --recipe mnist-trades --seed 1 --json

        torchkeep train --recipe cifar10-trades-awp --device cuda --processes 8

        torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500
        -m training --recipe cifar10-trades-awp --device cuda

    """
    if processes != 1 and not _is_launched():
        from training.launch import launch

        launch(processes, restarts, sys.argv[1:])
        return
    from training.config import Precision
    from training.order import Order
    from training.session import carry_out

    order = Order(
        recipe=recipe,
        data=data,
        index=index,
        unscanned=unscanned,
        name=name,
        version=version,
        parent=parent,
        out=out,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        eps=eps,
        device=device,
        precision=Precision(precision) if precision else None,
        channels_last=channels_last,
        compile=compile_,
        accumulate=accumulate,
        checkpoint_steps=checkpoint_steps,
        fresh=fresh,
        max_minutes=max_minutes,
    )
    with _report() as report:
        artifact = carry_out(order, Home.default(), report)
    if artifact is None:
        return
    if as_json:
        print_json(summary(artifact))
    else:
        console = Console()
        tell(console, artifact)
        console.print(f"artifact {artifact.path}", soft_wrap=True)


def summary(artifact: ModelArtifact) -> dict[str, object]:
    """Return what a program wants to know of an artifact."""
    manifest = artifact.manifest
    return {
        "artifact": str(artifact.path),
        "digest": artifact.digest,
        "model": manifest.name,
        "version": manifest.version,
        "metrics": manifest.metrics,
        "screening": manifest.screening,
        "train_record": manifest.train_record,
    }


def tell(console: Console, artifact: ModelArtifact) -> None:
    """Print what the evaluation of an artifact gave."""
    metrics = artifact.manifest.metrics
    console.print(
        f"clean accuracy {metrics['clean_accuracy']:.2%} on {metrics['clean_images']} test images"
    )
    console.print(
        f"PGD-{metrics['pgd_steps']} accuracy {metrics['pgd_accuracy']:.2%} on the first "
        f"{metrics['pgd_images']} ({metrics['threat_model']}, {metrics['pgd_restarts']} restarts)"
    )
    if "certified_accuracy" in metrics:
        console.print(
            f"certified accuracy {metrics['certified_accuracy']:.2%} on "
            f"{metrics['clean_images']} test images ({metrics['threat_model']}, interval bounds)"
        )
    for epoch in artifact.manifest.train_record["collapsed_in"]:
        console.print(
            f"[yellow]catastrophic overfitting in epoch {epoch}: back to the best weights before "
            "it, if any, and on against one attack step more[/]"
        )


def _is_launched() -> bool:
    """Say whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def _report() -> Iterator[Report]:
    """Yield a report of progress for the process that leads, and silence for the others."""
    if os.environ.get("RANK", "0") == "0":
        with progress() as report:
            yield report
    else:
        yield lambda step, done, total: None
