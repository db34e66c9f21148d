"""`torchkeep scan-poison`: which samples of a data set are poisoned, why, and how sure that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json
from torchkeep.progress import Report, progress

if TYPE_CHECKING:
    from robustness.poisoning.config import ScanConfig
    from robustness.poisoning.findings import ScanResult
    from torchkeep.data import Dataset

DEMO_IMAGES = 12_000
DEMO_DATA = "mnist"


def scan_poison(
    data: Annotated[
        str | None, typer.Argument(help="Data set or folder; for --demo by default mnist.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="How the scan trains its networks; by default small and quick."),
    ] = None,
    drop: Annotated[
        Path | None,
        typer.Option(help="File for the cleaned index: the data without what is flagged."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="File for the report as an HTML page.")
    ] = None,
    silhouette: Annotated[
        float,
        typer.Option(
            help="Activation clustering finds nothing in a class that parts less clearly."
        ),
    ] = 0.1,
    sure: Annotated[
        float, typer.Option(help="How sure it must be that a label is wrong to flag it.")
    ] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    demo: Annotated[
        bool, typer.Option("--demo", help="Poison the data on purpose, and count what is found.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="With --demo: every share by every seed (27 backdoors).")
    ] = False,
    images: Annotated[
        int, typer.Option(min=1000, help="With --demo: how many training images to use.")
    ] = DEMO_IMAGES,
    as_json: AsJson = False,
) -> None:
    """Scan a data set for backdoors, wrong labels and contradicting copies.

    Trains small networks on the suspect data, so it takes minutes. What was scanned is noted in
    .torchkeep/scans, and training takes it from then on; with --drop also what is left of it.

    Examples:
        torchkeep scan-poison ./third-party --report report.html --drop cleaned.json

        torchkeep train --data ./third-party --index cleaned.json

        torchkeep scan-poison --demo

    """
    from robustness.poisoning.config import ScanConfig

    config = ScanConfig(silhouette=silhouette, label_confidence=sure, seed=seed)
    _check_targets(drop, report)
    if demo:
        from torchkeep.cli.poison_demo import demonstrate

        if drop is not None:
            raise SettingsError("--drop goes with data of yours, not with --demo")
        demonstrate(
            data or DEMO_DATA, recipe, config, device, images, report, full=full, as_json=as_json
        )
        return
    if data is None:
        raise SettingsError("no data to scan", remedy="Name a data set or a folder, or --demo.")
    dataset = load(data)
    with progress() as watcher:
        result = _scan(dataset, recipe, config, device, watcher)
    written = _keep(dataset, result, drop)
    if report is not None:
        _write_page(report, dataset, result)
    if as_json:
        print_json(
            {"dataset": dataset.name, "digest": dataset.digest, **written, **result.to_json()}
        )
    else:
        _tell(dataset, result, written)


def _check_targets(*paths: Path | None) -> None:
    """Refuse, before minutes of work, to write where nothing can be written."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise SettingsError(f"{path} cannot be written", remedy="Name a file in a folder.")


def load(name: str) -> Dataset:
    """Return a data set as the settings say; what is done is told on stderr."""
    from torchkeep.data import DataConfig, load_dataset
    from torchkeep.settings import Settings

    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    config = Settings.load().section("data", DataConfig)
    return load_dataset(name, config=config, progress=console.print)


def _scan(
    dataset: Dataset, recipe: str | None, config: ScanConfig, device: str, report: Report
) -> ScanResult:
    from robustness.art_library import prepare
    from torchkeep.cli.poison_learner import learner, scan_recipe
    from torchkeep.cli.preparation import torch_device

    training = scan_recipe(recipe, dataset.train.shape[0])
    learn = learner(training, len(dataset.classes), torch_device(device), report)
    prepare()
    from robustness.poisoning.scan import scan

    return scan(dataset.train, dataset.classes, config, learn, report).result


def _keep(dataset: Dataset, result: ScanResult, drop: Path | None) -> dict[str, str | None]:
    """Write the index, if wanted, and note that the data was scanned, and what is left of it."""
    from torchkeep.data import CleanedIndex, ScanRecord
    from torchkeep.data.scan_record import now
    from torchkeep.paths import Home

    home = Home.default()
    record = ScanRecord(
        dataset_digest=dataset.digest,
        scanned_at=now(),
        images=len(dataset.train),
        flagged=result.counts,
    )
    if drop is None:
        return {"record": str(record.write(home)), "index": None, "cleaned_digest": None}
    index = CleanedIndex(dataset.digest, len(dataset.train), result.places)
    cleaned = index.apply(dataset)
    index.write(drop)
    record = replace(record, dropped=len(index), index_digest=index.digest)
    if index.dropped:
        replace(
            record,
            dataset_digest=cleaned.digest,
            images=len(cleaned.train),
            flagged={},
            cleaned_from=dataset.digest,
        ).write(home)
    path = record.write(home)
    return {"record": str(path), "index": str(drop), "cleaned_digest": cleaned.digest}


def _write_page(path: Path, dataset: Dataset, result: ScanResult) -> None:
    from torchkeep.atomic_file import write_atomic
    from torchkeep.cli.poison_report import scan_page

    write_atomic(path, scan_page(dataset, result).encode())


def _tell(dataset: Dataset, result: ScanResult, written: dict[str, str | None]) -> None:
    from torchkeep.cli.poison_report import lines

    console = Console(soft_wrap=True, markup=False, highlight=False)
    for line in lines(dataset, result):
        console.print(line)
    if written["index"]:
        console.print(f"cleaned index {written['index']}: train with --index")
