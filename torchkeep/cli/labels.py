"""`torchkeep labels`: what was later found to be on the images that were served."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from torchkeep.errors import DataError
from torchkeep.output import AsJson, print_json
from torchkeep.printable import printable

if TYPE_CHECKING:
    from monitoring.label_files import LabelFile
    from monitoring.labels import LabelStore

Table = Annotated[
    Path | None, typer.Option("--table", help="Folder of the table; by default labels in the home.")
]

labels = typer.Typer(name="labels", no_args_is_help=True, rich_markup_mode="rich")


@labels.callback()
def _labels() -> None:
    """Add labels that came after the answer, and count them.

    A label names a request and an item of it. The latest label of an item is the one that counts.

    Examples:
        torchkeep labels add labels.csv

        torchkeep labels show

    """


@labels.command()
def add(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines (.jsonl) or Parquet.")],
    source: Annotated[
        str | None, typer.Option(help="Who labelled; by default the file's name.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Add nothing if a single row cannot be used.")
    ] = False,
    table: Table = None,
    as_json: AsJson = False,
) -> None:
    """Add the labels in a file.

    Columns: request_id and label; item (0 if absent), client (pseudonym as logged) and labelled_at
    (ISO 8601, UTC unless it says otherwise; now if absent) may be there. Rows that cannot be used
    are counted and left out.

    Examples:
        torchkeep labels add labels.csv

        torchkeep labels add reviewed.jsonl --source "second reading" --strict

        torchkeep labels add labels.parquet --json

    """
    from monitoring.label_files import read_label_file

    found = read_label_file(file, source=source)
    refused = sum(found.faults.values())
    if refused and (strict or not len(found.rows)):
        raise DataError(
            file, f"{refused} rows cannot be used, the first: {found.examples[0]}", "labels"
        )
    store = _store(table)
    store.add(found.rows)
    if as_json:
        faults = {fault.value: count for fault, count in found.faults.items()}
        print_json(
            {
                "table": str(store.location),
                "added": len(found.rows),
                "left_out": faults,
                "examples": found.examples,
                "ignored_columns": found.ignored,
            }
        )
    else:
        _print_added(found, store)


@labels.command()
def show(
    as_of: Annotated[
        str | None,
        typer.Option(help="Count what was known then: 24h before now, or a date and time (UTC)."),
    ] = None,
    table: Table = None,
    as_json: AsJson = False,
) -> None:
    """Count the labels that hold, or held at a time.

    Examples:
        torchkeep labels show

        torchkeep labels show --as-of 2026-11-01T12:00 --json

    """
    from torchkeep.cli.look_span import parse_time

    store = _store(table)
    held = store.read(
        as_of_ns=None if as_of is None else parse_time(as_of, time.time_ns(), "--as-of")
    )
    names = dict.fromkeys(sorted(set(held.label.tolist())), 0)
    for label in held.label.tolist():
        names[label] += 1
    told: dict[str, Any] = {
        "table": str(store.location),
        "items": len(held),
        "labels": names,
        "rows": held.rows,
        "later": held.later,
        "revised": held.revised,
        "conflicting": held.conflicting,
        "unreadable": held.unreadable,
    }
    if as_json:
        print_json(told)
        return
    console = _console()
    console.print(f"{len(held)} items have a label, from {held.rows} rows in {store.location}")
    console.print(
        f"{held.revised} revised, {held.conflicting} conflicting (left out), {held.later} later"
    )
    for label, count in names.items():
        console.print(f"{printable(label)}: {count}")
    for name in held.unreadable:
        console.print(f"unreadable: {printable(name)}")


def _print_added(found: LabelFile, store: LabelStore) -> None:
    console = _console()
    console.print(f"{len(found.rows)} labels added to {store.location}")
    for fault, count in found.faults.items():
        console.print(f"left out, {fault.value}: {count}")
    for example in found.examples:
        console.print(f"  {example}")
    if found.ignored:
        console.print(f"columns ignored: {', '.join(map(printable, found.ignored))}")


def _store(table: Path | None) -> LabelStore:
    from monitoring.labels import LabelStore
    from torchkeep.paths import Home

    return LabelStore.default(Home.default()) if table is None else LabelStore(table)


def _console() -> Console:
    return Console(soft_wrap=True, markup=False, highlight=False)
