"""`torchkeep screen-report`: how good screening is, measured through the running server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from torchkeep.output import AsJson, print_json
from torchkeep.progress import Report, progress

if TYPE_CHECKING:
    from release.asking import Door
    from release.status import ServerStatus
    from torchkeep.artifact import ModelArtifact
    from torchkeep.cli.screening_measurement import DetectionRates, ScreenReport
    from torchkeep.data import ImageSet
    from torchkeep.paths import Home


def screen_report(
    attacked: Annotated[
        int | None, typer.Option(min=1, help="Test images to attack; by default as in training.")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of the artifact that is served, if not the usual.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on; by default as recorded.")
    ] = None,
    over: Annotated[str, typer.Option(help="Protocol to send over: grpc or rest.")] = "grpc",
    as_json: AsJson = False,
) -> None:
    """Measure false alarms on the test images and detection of PGD, through the running server.

    Sends every test image, then PGD-attacked ones (white box, not aware of the detectors), and
    takes scores and verdicts from the request log that the server wrote.

    Examples:
        torchkeep screen-report

        torchkeep screen-report --attacked 100 --json

    """
    from release.asking import local_door
    from torchkeep.cli.preparation import recorded_splits
    from torchkeep.paths import Home

    home = Home.default()
    with progress() as report:
        server, served = _served(home, artifact)
        splits, door = recorded_splits(served, data), local_door(home, server)
        result = measure(server, door, served, splits.test, attacked, over, report)
    if as_json:
        print_json(result.to_json())
    else:
        _tell(result)


def measure(
    server: ServerStatus,
    door: Door,
    artifact: ModelArtifact,
    test: ImageSet,
    attacked_images: int | None,
    over: str,
    report: Report,
) -> ScreenReport:
    """Send the test images, then attacked ones, to the server that serves the artifact."""
    import torch

    from robustness.screened_model import load_classifier
    from torchkeep.cli.screening_measurement import compile_report, send
    from torchkeep.client import Client
    from torchkeep.errors import SettingsError
    from training.evaluation import attack_images, recorded_attack

    if over not in ("grpc", "rest"):
        raise SettingsError(f"--over {over}", remedy="Give grpc or rest.")
    attack, count = recorded_attack(artifact.manifest)
    victims = test.subset(range(min(attacked_images or count, len(test))))
    labels = torch.from_numpy(victims.labels)
    pixels = torch.from_numpy(victims.images).float().div_(255)
    twins = attack_images(load_classifier(artifact), attack, pixels, labels, report).numpy()
    url = door.grpc if over == "grpc" else door.rest
    where, classes = Path(server.request_log), artifact.manifest.classes
    with Client(url, model=server.model, token=door.token, timeout=60) as client:
        clean = send(client, test.images, where, classes, "send clean images", report)
        attacked = send(client, twins, where, classes, "send attacked images", report)
    return compile_report(
        model=server.model,
        version=server.version,
        target_fpr=(artifact.manifest.screening or {})["calibration"]["target_fpr"],
        attack=f"PGD-{attack.steps} × {attack.restarts} restarts, {attack.threat}",
        clean=clean,
        clean_labels=test.labels,
        attacked=attacked,
        attacked_labels=victims.labels,
    )


def _served(home: Home, folder: Path | None) -> tuple[ServerStatus, ModelArtifact]:
    """Return what runs in `home` and the artifact it came of; raises `ServerError` if neither."""
    from release.status import status
    from torchkeep.artifact import ModelArtifact
    from torchkeep.cli.preparation import artifact_path
    from torchkeep.errors import ServerError

    server = status(home)
    if not server.running:
        raise ServerError(server.reason, remedy="Start one: torchkeep up.")
    artifact = ModelArtifact.load(folder or artifact_path(server.model, server.version))
    if artifact.digest != server.artifact_digest:
        raise ServerError(
            f"{artifact.path} is not what is being served",
            remedy="Name the folder that is with --artifact.",
        )
    return server, artifact


def _tell(report: ScreenReport) -> None:
    console = Console()
    console.print(
        f"{report.model} {report.version}, artifact {report.digest[:12]}, measured through the "
        "running server",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("images", "count", "accuracy", "flagged", "AUROC"):
        table.add_column(column, no_wrap=True)
    table.add_row(
        "clean test",
        str(report.clean_images),
        f"{report.clean_accuracy:.2%}",
        f"{report.fpr:.2%}",
        "",
    )
    table.add_row(
        "PGD",
        str(report.attacked.images),
        f"{report.attacked_accuracy:.2%}",
        *_rates(report.attacked),
    )
    table.add_row("  successful", str(report.successful.images), "", *_rates(report.successful))
    console.print(table)
    console.print(f"PGD is {report.attack}, white box.", highlight=False)
    for head, alone in report.attacked.head_auroc.items():
        console.print(f"AUROC of the {head} head alone: {alone:.4f}", highlight=False)
    console.print(
        f"false positives: {report.false_positives} of {report.clean_images}; at most "
        f"{report.fpr_upper_bound:.2%} with 95 % confidence (target {report.target_fpr:.2%}).",
        highlight=False,
    )
    console.print(
        "These attacks do not know the detectors. An attacker who does will get further.",
        style="yellow",
    )


def _rates(rates: DetectionRates) -> tuple[str, str]:
    return f"{rates.tpr:.2%}", f"{rates.auroc:.4f}"
