"""`torchkeep training-set`: what a model version was trained on, and that data once more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from torchkeep.data import TrainingSet, TrainingSets
    from torchkeep.data.training_sets import Entry

SHORT = 12
"""Letters of a digest that people are shown."""
NAMED_CLASSES = 20


def training_set(
    name: Annotated[str | None, typer.Argument(help="Model; without one, all are listed.")] = None,
    version: Annotated[
        str | None,
        typer.Argument(help="Its version, or a digest's beginning; without one, its history."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data lie now; by default where they lay.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the images again, as an .npz of images and labels.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with this version, or digest's beginning.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a model version was trained on, image by image, and make that data again.

    Every training archives the place, label and SHA-256 of each of its images.
    1.2~1 is what version 1.2 was trained on before it was last trained anew.

    Images are found by their hashes, wherever they now lie in the data.

    Examples:
        torchkeep training-set

        torchkeep training-set mnist 1.2 --against 1.1

        torchkeep training-set mnist 1.2 --data ./images --out mnist-1.2.npz

    """
    from torchkeep.data import TrainingSets
    from torchkeep.paths import Home

    archive = TrainingSets.of(Home.default())
    if name is None or version is None:
        if out or against:
            raise SettingsError("--out and --against need a version", remedy="Name it last.")
        models = archive.models() if name is None else [name]
        listed = {model: archive.history(model) for model in models}
        _list(listed, as_json)
        return
    entry = archive.find(name, version)
    known = archive.load(name, entry)
    facts = _facts(archive, name, entry, known)
    if against is not None:
        facts["against"] = _compared(archive, name, against, known)
    if out is not None:
        facts["out"] = _written(entry, known, data, out)
    if as_json:
        print_json(facts)
    else:
        _tell(facts)


def _facts(archive: TrainingSets, name: str, entry: Entry, known: TrainingSet) -> dict[str, Any]:
    before = archive.before(name, entry)
    return {
        "model": name,
        "version": entry.version,
        "digest": entry.digest,
        "archived": _when(entry),
        "dataset": known.dataset,
        "dataset_digest": known.dataset_digest,
        "source": entry.source,
        "shape": known.shape,
        "images": len(known),
        "classes": known.counts(),
        "splits": known.splits,
        "cleaned": known.cleaned,
        "before": before and {"version": before.version, "digest": before.digest},
    }


def _compared(archive: TrainingSets, name: str, against: str, known: TrainingSet) -> dict[str, Any]:
    from torchkeep.data import compare

    entry = archive.find(name, against)
    difference = compare(archive.load(name, entry), known)
    return {"version": entry.version, "digest": entry.digest, **difference.to_json()}


def _written(entry: Entry, known: TrainingSet, data: str | None, out: Path) -> str:
    """Rebuild the set from the data and write it, which never takes the place of a file."""
    from torchkeep.data import DataConfig, load_dataset, rebuild
    from torchkeep.data.rebuilding import write_npz
    from torchkeep.settings import Settings

    if out.suffix != ".npz" or out.exists():
        fault = "is there already" if out.exists() else "does not end in .npz"
        raise SettingsError(f"{out} {fault}", remedy="Name a new .npz file.")
    recorded = entry.source if Path(entry.source).is_absolute() else known.dataset
    config = Settings.load().section("data", DataConfig)
    progress = Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print
    dataset = load_dataset(data or recorded, config=config, progress=progress)
    write_npz(out, rebuild(known, dataset), known.classes)
    return str(out)


def _list(listed: dict[str, list[Entry]], as_json: bool) -> None:
    rows = [
        {"model": model, "version": each.version, "digest": each.digest, "archived": _when(each)}
        for model, entries in listed.items()
        for each in entries
    ]
    if as_json:
        print_json({"training_sets": rows})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "archived", "digest"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        digest = row["digest"][:SHORT]
        table.add_row(row["model"], row["version"], row["archived"], digest)
    Console().print(table if rows else "no training set is archived here")


def _tell(facts: dict[str, Any]) -> None:
    before, cleaned = facts["before"], facts["cleaned"]
    counts = [f"{label} {count:,}" for label, count in facts["classes"].items()]
    more = [] if len(counts) <= NAMED_CLASSES else ["…"]
    lines = {
        "model": f"{facts['model']} {facts['version']}",
        "archived": facts["archived"],
        "digest": facts["digest"],
        "data set": f"{facts['dataset']}, digest {facts['dataset_digest'][:SHORT]}",
        "from": facts["source"],
        "images": f"{facts['images']:,} of {' x '.join(map(str, facts['shape']))}",
        "classes": ", ".join(counts[:NAMED_CLASSES] + more),
        "cleaned": "images were left out; see --json" if cleaned else "no",
        "before": f"{before['version']} ({before['digest'][:SHORT]})" if before else "nothing",
    }
    if against := facts.get("against"):
        lines["against"] = f"{against['version']} ({against['digest'][:SHORT]}): " + ", ".join(
            f"{against[kind]:,} {kind}" for kind in ("kept", "added", "removed", "relabelled")
        )
    if out := facts.get("out"):
        lines["written"] = out
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for key, value in lines.items():
        console.print(f"{key:<9} {value}")


def _when(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.archived_ns / 1e9, UTC).isoformat(timespec="seconds")
