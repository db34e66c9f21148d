"""`torchkeep import`: a network that was trained elsewhere becomes an artifact like any other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json
from torchkeep.progress import progress

if TYPE_CHECKING:
    from torchkeep.artifact import ModelArtifact
    from torchkeep.threat_model import ThreatModel
    from training.importing import Imported

HARDLY = 1.5
"""An accuracy below this many times that of guessing looks like a mistake."""


def import_(
    weights: Annotated[Path, typer.Argument(help="Its weights: a safetensors file.")],
    model: Annotated[
        str, typer.Option(help="Its class, as package.module:Class; this command imports it.")
    ],
    data: Annotated[
        str, typer.Option(help="Data set or folder that it tells apart; see the help above.")
    ],
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Argument of its constructor, in JSON; repeat it."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model name; by default the name of the weights' file.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the model that is made.")] = "1.0",
    norm: Annotated[str, typer.Option(help="Threat model: linf or l2.")] = "linf",
    eps: Annotated[str, typer.Option(help="Its radius, pixels being 0 to 1.")] = "8/255",
    mean: Annotated[
        str | None, typer.Option(help="Normalisation that it expects: one number, or R,G,B.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Likewise: the deviations.")] = None,
    taps: Annotated[
        str | None,
        typer.Option(help="Early layers that detectors shall see, or none; by default chosen."),
    ] = None,
    target_fpr: Annotated[
        float, typer.Option(help="False-positive rate that calibration must stay below.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="Device that will serve: cpu or cuda.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the artifact; by default .torchkeep/artifacts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wrap a trained network, measure it, and fit and calibrate its detectors.

    The class takes images with pixels from 0 to 1 (or normalised, with --mean
    and --std) and ends in one nn.Linear that gives the logits of the classes,
    in the order of the data's. It is imported because you name it here; to
    serve it, name it in the section "models" of the settings, too.

    Best give data that it was not trained on: calibrated on images that a
    network has learnt by heart, detectors may give more false alarms than
    promised. How many they give on the test images is told.

    Examples:
        torchkeep import weights.safetensors --model my_package.networks:Net --data ./images

        torchkeep import w.safetensors --model nets:Net --data mnist --mean 0.13 --std 0.31

        torchkeep import w.safetensors --model nets:Net --option classes=10 --data ./images.npz

    """
    from robustness.fitting import DetectorConfig
    from torchkeep.cli.preparation import artifact_path, load_splits, torch_device
    from training.import_config import ImportConfig
    from training.importing import import_network

    config = ImportConfig(
        model=model,
        name=name or weights.stem,
        threat_model=_threat_model(norm, eps),
        arguments=_arguments(option or []),
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        taps=None if taps is None else _names(taps),
        seed=seed,
    )
    target, detectors = torch_device(device), DetectorConfig(target_fpr=target_fpr, seed=seed)
    path = out or artifact_path(config.name, version)
    dataset, splits = load_splits(data)
    with progress() as report:
        imported = import_network(
            weights,
            dataset,
            splits,
            config,
            detectors,
            path,
            version=version,
            device=target,
            progress=report,
        )
    if as_json:
        print_json(_summary(imported))
    else:
        _tell(Console(soft_wrap=True), imported)


def _threat_model(norm: str, eps: str) -> ThreatModel:
    """Return the threat model of two options, the radius a number or a fraction such as 8/255."""
    from torchkeep.threat_model import Epsilon, Norm, ThreatModel

    if norm not in list(Norm):
        raise SettingsError(f"--norm is {norm!r}", remedy=f"Choose from: {', '.join(Norm)}.")
    try:
        radius = float(Fraction(eps.replace(" ", "")))
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"--eps is {eps!r}", remedy="Give 0.1, or 8/255.") from error
    return ThreatModel(norm=Norm(norm), eps=Epsilon(radius))


def _arguments(options: list[str]) -> dict[str, Any]:
    """Return the constructor's arguments; what is no JSON is a text."""
    arguments: dict[str, Any] = {}
    for option in options:
        key, given, value = option.partition("=")
        if not given or not key.isidentifier():
            raise SettingsError(f"--option is {option!r}", remedy="Write it as key=value.")
        try:
            arguments[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            arguments[key] = value
    return arguments


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError as error:
        raise SettingsError(
            f"{option} is {text!r}", remedy="Give one number, or one a channel: 0.5,0.5,0.5."
        ) from error
    return numbers


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    return () if names == ("none",) else names


def _summary(imported: Imported) -> dict[str, object]:
    from torchkeep.cli.train import summary

    more = {"output": imported.output, "false_alarms": imported.false_alarms}
    return {**summary(imported.artifact), **more, "trusted": _is_trusted(imported.artifact)}


def _is_trusted(artifact: ModelArtifact) -> bool:
    from torchkeep.architectures.foreign import trusted_by_settings

    return artifact.manifest.architecture in trusted_by_settings()


def _tell(console: Console, imported: Imported) -> None:
    from torchkeep.architectures.foreign import setting_to_trust
    from torchkeep.cli.train import tell

    artifact, manifest = imported.artifact, imported.artifact.manifest
    tell(console, artifact)
    if manifest.metrics["clean_accuracy"] < HARDLY / len(manifest.classes):
        console.print(
            "[yellow]that is hardly better than chance: do --mean and --std fit, and is the order "
            "of the classes that of the data?[/]"
        )
    if imported.output != "logits":
        console.print(f"its output is {imported.output}; the logits before them are served")
    taps = ", ".join(manifest.options["taps"]) or "the features before the last layer only"
    console.print(f"detectors see {taps}", highlight=False)
    bound = dict(manifest.screening or {})["calibration"]["fpr_upper_bound"]
    console.print(
        f"{imported.false_alarms:.2%} of the clean test images are suspected; calibration promises "
        f"at most {bound:.2%}"
    )
    if imported.false_alarms_at_least > bound:
        console.print(
            "[yellow]more than promised: was it trained on the data given here? Give data that it "
            "was not trained on[/]"
        )
    console.print(f"artifact {artifact.path}", highlight=False)
    if not _is_trusted(artifact):
        remedy = setting_to_trust(manifest.architecture)
        console.print(f"to use it, {remedy}", markup=False, highlight=False)
