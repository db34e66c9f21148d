"""`torchkeep certify`: the accuracy that no attack can take, proved image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress

if TYPE_CHECKING:
    from robustness.evaluation.report import CertificationResult

RADII = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def certify(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    method: Annotated[
        str | None,
        typer.Option(help="interval, linear or smoothing; by default what suits the network."),
    ] = None,
    eps: Annotated[
        list[float] | None,
        typer.Option(help="Linf radius to prove, up to 1; may be repeated. Not for smoothing."),
    ] = None,
    images: Annotated[int, typer.Option("-n", "--images", min=1, help="Test images.")] = 100,
    sigma: Annotated[
        float, typer.Option(help="Smoothing: standard deviation of the noise.")
    ] = 0.25,
    draws: Annotated[int, typer.Option(min=1, help="Smoothing: noisy copies an image.")] = 10_000,
    alpha: Annotated[
        float, typer.Option(help="Smoothing: how often a radius may be wrong.")
    ] = 0.001,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on; by default as recorded.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Smoothing: seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    samples: Annotated[
        Path | None, typer.Option(help="Write a row for each image to this CSV file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove for each test image a radius within which no attack can change the answer.

    Linf: interval bounds, or the tighter linear bounds, for networks of linear, convolution, ReLU
    and flatten layers. L2: randomized smoothing, for any network; it holds for the smoothed
    network, and is wide only for one that was trained with noise. What is finished is kept: after
    any end the same command goes on.

    Examples:
        torchkeep certify .torchkeep/artifacts/mnist-ibp-1.0 --eps 0.1 -n 1000

        torchkeep certify .torchkeep/artifacts/digits-1.0 --method smoothing --sigma 0.25

    """
    from torchkeep.cli.certification import Order, run

    order = Order(
        artifact=artifact,
        method=method,
        radii=tuple(eps or ()),
        images=images,
        sigma=sigma,
        draws=draws,
        alpha=alpha,
        data=data,
        seed=seed,
        device=device,
        samples=samples,
    )
    with progress() as report:
        result = run(order, report)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(result))
    else:
        _tell(result)


def _tell(result: CertificationResult) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"certified accuracy in {result.norm} by {result.method}, {result.n} test images")
    for curve in result.certified:
        for point in curve.points:
            count = round(point.y * result.n)
            console.print(f"  radius {point.x:<6g} {point.y:7.2%}  ({count} of {result.n})")
    if result.method == "smoothing":
        console.print("holds for the smoothed network, each radius but for alpha")
