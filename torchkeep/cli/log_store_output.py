"""What `torchkeep logs` prints: rows of a query, and what a compaction did."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchkeep.output import print_json
from torchkeep.printable import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from monitoring.store import CompactionReport

_MANY = 10_000
_WIDEST = 120
_MOST_COLUMNS = 12


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, more: bool) -> None:
    """Print rows for people; `more` says that there were others.

    Rows of many columns are printed one below the other, a line a column.
    """
    console = Console()
    if len(columns) <= _MOST_COLUMNS:
        console.print(_across(columns, rows))
    else:
        for row in rows:
            console.print(_downwards(columns, row))
    if more:
        console.print(f"… and more: only the first {len(rows)} rows are shown")


def print_json_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print all rows as one JSON object; whole numbers beyond 64 bits become text."""
    print_json({"columns": columns, "rows": [[_for_json(value) for value in row] for row in rows]})


def _across(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = any(isinstance(row[number], int | float) for row in rows)
        table.add_column(Text(printable(column)), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _downwards(columns: Sequence[str], row: Sequence[Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for column, value in zip(columns, row, strict=True):
        table.add_row(Text(printable(column), style="bold"), Text(_cell(value)))
    table.add_row("")
    return table


def print_csv(columns: Sequence[str], result: DuckDBPyConnection) -> None:
    """Print all rows of a result as CSV, as they are fetched."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    while rows := result.fetchmany(_MANY):
        writer.writerows(rows)
    sys.stdout.flush()


def print_report(location: str, report: CompactionReport) -> None:
    """Print what became of the lines of a compaction."""
    lines = [
        f"{report.segments} segments, {report.bytes_read / 1e6:.1f} MB: {report.records} records "
        f"added to {location}",
        *(f"  {partition}: {rows}" for partition, rows in sorted(report.partitions.items())),
    ]
    if report.duplicates:
        lines.append(f"{report.duplicates} records were there already, and left out")
    if report.clock_skew:
        lines.append(f"{report.clock_skew} records are dated more than a day ahead, and kept")
    lines += [f"{n} × {fault}: set aside" for fault, n in sorted(report.quarantined.items())]
    lines += [
        f"{n} × unknown field {name}: not kept" for name, n in sorted(report.unknown_fields.items())
    ]
    for line in lines:
        Console().print(Text(printable(line)), soft_wrap=True)


def _for_json(value: Any) -> Any:
    """A value of DuckDB as JSON can hold it: keys of maps are texts there."""
    if isinstance(value, dict):
        return {str(key): _for_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(one) for one in value]
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return printable(text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…")
