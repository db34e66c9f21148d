"""`torchkeep train`: one training, from data to artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.cli.output import AsJson, print_json
from torchkeep.cli.progress import progress

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact


def train(
    recipe: Annotated[str, typer.Option(help="Named training; see the examples.")] = "mnist-quick",
    data: Annotated[
        str | None, typer.Option(help="Data set or folder, in place of the recipe's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Model name, in place of the recipe's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model that is made.")] = "1.0",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the artifact; by default .torchkeep/artifacts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Epochs, in place of the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train an image classifier to be hard to fool, and measure it on clean and attacked images.

    Recipes: mnist-quick, fashion-quick, cifar10-quick, digits-quick. Ctrl-C leaves nothing behind.

    Examples:
        torchkeep train --recipe digits-quick

        torchkeep train --recipe mnist-quick --seed 1 --json

    """
    from torchkeep.cli.preparation import load_splits, torch_device, trained
    from training.recipes import recipe as find_recipe

    config = find_recipe(recipe)
    config = replace(
        config,
        seed=seed,
        data=data or config.data,
        name=name or config.name,
        epochs=config.epochs if epochs is None else epochs,
    )
    target = torch_device(device)
    dataset, splits = load_splits(config.data)
    with progress() as report:
        artifact = trained(dataset, splits, config, version, out, target, report)
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
    for epoch in artifact.manifest.train_record["collapsed_in"]:
        console.print(
            f"[yellow]catastrophic overfitting in epoch {epoch}: back to the best weights before "
            "it, if any, and on against one attack step more[/]"
        )
