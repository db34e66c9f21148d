"""`torchkeep fit-detectors`: fit and calibrate an artifact's detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from torchkeep.dtype import Dtype
from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress


def fit_detectors(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    data: Annotated[
        str | None,
        typer.Option(help="The data it was trained on; by default as recorded."),
    ] = None,
    target_fpr: Annotated[
        float, typer.Option(help="False-positive rate that calibration must stay below.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Device that will serve: cpu or cuda.")] = "cpu",
    preprocess: Annotated[
        str | None,
        typer.Option(help="What goes before the network: jpeg:75, bits:4, median:3 or tv:0.1."),
    ] = None,
    second_look: Annotated[
        float,
        typer.Option(help="Share of images, the most suspicious, to look at again; 0 for none."),
    ] = 0.0,
    dtype: Annotated[
        Dtype, typer.Option(help="What the network will compute in when it is served.")
    ] = Dtype.FLOAT32,
    as_json: AsJson = False,
) -> None:
    """Fit detectors on clean and attacked training images and calibrate their threshold.

    The threshold is the lowest whose false-positive rate stays below the target with 95 %
    confidence, on images that nothing else has seen. What the model says of these images is kept
    in the artifact too, as the reference that monitoring holds the request log against.

    Examples:
        torchkeep fit-detectors .torchkeep/artifacts/mnist-1.0

        torchkeep fit-detectors .torchkeep/artifacts/mnist-1.0 --target-fpr 0.005

        torchkeep fit-detectors .torchkeep/artifacts/mnist-1.0 --preprocess jpeg:75

        torchkeep fit-detectors .torchkeep/artifacts/mnist-1.0 --second-look 0.05

        torchkeep fit-detectors .torchkeep/artifacts/mnist-1.0 --device cuda --dtype bfloat16

    """
    from robustness.fitting import DetectorConfig
    from torchkeep.artifact import ModelArtifact
    from torchkeep.cli.preparation import fitted, recorded_splits, torch_device

    model = ModelArtifact.load(artifact)
    splits = recorded_splits(model, data)
    config = DetectorConfig(
        target_fpr=target_fpr,
        seed=seed,
        preprocessing=preprocess,
        second_look=second_look,
        dtype=dtype,
    )
    with progress() as report:
        model = fitted(model, splits, config, torch_device(device), report)
    calibration = dict(model.manifest.screening or {})["calibration"]
    images = dict(model.manifest.reference or {}).get("images", 0)
    if as_json:
        said = {"artifact": str(model.path), "digest": model.digest, "reference_images": images}
        print_json(said | calibration)
        return
    Console().print(
        f"threshold {calibration['threshold']:.3f}: {calibration['exceedances']} of "
        f"{calibration['images_b']} calibration images above it, so the false-positive rate is at "
        f"most {calibration['fpr_upper_bound']:.2%} ({calibration['confidence']:.0%} confidence)"
    )
    Console().print(f"reference for monitoring: {images} held-out images")
