"""`torchkeep data`: get a data set, verify it, and tell what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from torchkeep.errors import SettingsError
from torchkeep.output import AsJson, print_json

if TYPE_CHECKING:
    from torchkeep.data import DataConfig, Dataset, Splits

_NAMED_CLASSES = 20


def data(
    name: Annotated[
        str,
        typer.Argument(help="mnist, fashion-mnist, cifar10, digits, or the path of your own data."),
    ] = "mnist",
    origin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="DIR|URL", help="Take the files from a folder or a web address."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Preview the images of a folder at this many pixels a side; to train on them, "
            "set resize in [data]."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Get a data set, verify every file of it, and print what is in it.

    A known data set is downloaded once and kept in .torchkeep/data; each
    later use verifies it again. Your own data is read where it lies: a folder
    with a folder of images for each class (perhaps below train/ and test/),
    idx files, an .npz archive or CIFAR-10 binary batches.

    --size holds for this look alone. For good, and for training, set `resize`
    in [data] of torchkeep.toml, or TORCHKEEP_DATA_RESIZE.

    Examples:
        torchkeep data mnist

        torchkeep data fashion-mnist --from /media/usb/fashion

        torchkeep data ./flowers --size 32 --json

    """
    from torchkeep.data import CATALOGUE, DataConfig, SplitSpec, load_dataset, split
    from torchkeep.settings import Settings

    config = Settings.load().section("data", DataConfig)
    if size is not None:
        config = _resized(config, name, size)
        _progress(f"a preview: to train at this size, set TORCHKEEP_DATA_RESIZE={size}")
    dataset = load_dataset(name, config=config, origin=origin, progress=_progress)
    splits = split(dataset, SplitSpec())
    where = config.folder(name) if name in CATALOGUE else Path(name).resolve()
    facts = _facts(dataset, splits, where)
    if as_json:
        print_json(facts)
    else:
        _tell(facts)


def _resized(config: DataConfig, name: str, size: int) -> DataConfig:
    if not Path(name).is_dir():
        raise SettingsError(f"--size does not fit {name!r}", remedy="Give it with an image folder.")
    return replace(config, resize=size)


def _progress(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)


def _facts(dataset: Dataset, splits: Splits, where: Path) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "path": str(where),
        "source": dataset.source,
        "digest": dataset.digest,
        "shape": dataset.train.shape,
        "classes": dataset.classes,
        "images": {"train": len(dataset.train), "test": len(dataset.test)},
        "splits": splits.record.to_json(),
    }


def _tell(facts: dict[str, Any]) -> None:
    lines = {
        "data set": facts["name"],
        "where": facts["path"],
        "from": facts["source"],
        "digest": facts["digest"],
        "images": _counts(facts["images"]),
        "shape": "{} x {} x {} (channels, height, width)".format(*facts["shape"]),
        "classes": _classes(facts["classes"]),
        "splits": _counts(facts["splits"]["counts"]),
    }
    console = Console(soft_wrap=True)
    for key, value in lines.items():
        console.print(f"{key:<9} {value}", markup=False, highlight=False)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _classes(classes: tuple[str, ...]) -> str:
    more = ", …" if len(classes) > _NAMED_CLASSES else ""
    return f"{len(classes)}: {', '.join(classes[:_NAMED_CLASSES])}{more}"
