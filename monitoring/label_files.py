"""Reads labels from a CSV, JSON-lines or Parquet file; what is no row is counted and left out.

Columns: `request_id` and `label` must be there; `item` (0 if absent), `client` (a pseudonym as
logged) and `labelled_at` (ISO 8601, UTC unless it says otherwise; now if absent) may be.
"""

from __future__ import annotations

import csv
import difflib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.label_rows import LabelFault, LabelRow, RowError, label_row
from monitoring.labels import SCHEMA
from torchkeep.errors import DataError

REQUIRED = ("request_id", "label")
OPTIONAL = ("item", "client", "labelled_at")
_KEPT_EXAMPLES = 10
_BATCH = 65_536
_ROWS = pa.schema([field for field in SCHEMA if field.name != "added_at_ns"])

_Row = Mapping[str, Any] | None  # None: not a row


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """What a file of labels holds."""

    rows: pa.Table  # the columns of `labels.SCHEMA` but `added_at_ns`
    faults: Mapping[LabelFault, int]
    examples: tuple[str, ...]
    """The first faults, each with the number of its row."""
    ignored: tuple[str, ...]
    """Columns that mean nothing here; of JSON lines none is told."""


def read_label_file(
    path: Path, *, source: str | None = None, now_ns: int | None = None
) -> LabelFile:
    """Read a file of labels; `source` says who labelled, the file's name by default.

    Raises `DataError` if the file cannot be read, is none of the three kinds, or lacks a column.
    """
    readers: dict[str, Callable[[Path], tuple[Iterable[str], Iterator[_Row]]]] = {
        ".csv": _csv,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".parquet": _parquet,
    }
    if path.suffix.lower() not in readers:
        raise DataError(path, f"unknown kind {path.suffix!r}", "one of " + ", ".join(readers))
    now = time.time_ns() if now_ns is None else now_ns
    try:
        columns, rows = readers[path.suffix.lower()](path)
        return _collect(rows, source or path.name, now, _ignored(path, columns))
    except OSError as error:
        raise DataError(
            path, f"cannot be read: {error.strerror or error}", "a file of labels"
        ) from error
    except (pa.ArrowException, ValueError, OverflowError) as error:  # such as a time in year 30000
        fault = str(error).splitlines()[0]
        raise DataError(path, f"cannot be read: {fault}", "a table of labels") from error


def _collect(rows: Iterable[_Row], source: str, now_ns: int, ignored: tuple[str, ...]) -> LabelFile:
    faults: Counter[LabelFault] = Counter()
    examples: list[str] = []
    batches: list[pa.RecordBatch] = []
    good: list[LabelRow] = []
    for number, values in enumerate(rows, start=1):
        try:
            if values is None:
                raise RowError(LabelFault.NOT_A_ROW, "")
            good.append(label_row(values, now_ns))
        except RowError as error:
            faults[error.fault] += 1
            if len(examples) < _KEPT_EXAMPLES:
                examples.append(f"row {number}: {error}")
        if len(good) == _BATCH:
            batches.append(_batch(good, source))
            good = []
    batches.append(_batch(good, source))
    return LabelFile(
        rows=pa.Table.from_batches(batches, _ROWS),
        faults=dict(faults),
        examples=tuple(examples),
        ignored=ignored,
    )


def _batch(rows: list[LabelRow], source: str) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in LabelRow._fields]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip([*columns, [source] * len(rows)], _ROWS, strict=True)
        ],
        schema=_ROWS,
    )


def _ignored(path: Path, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that mean nothing; raises `DataError` where that may be a mistake."""
    present = set(columns)
    if not present:
        return ()
    if missing := [name for name in REQUIRED if name not in present]:
        raise DataError(path, f"has no column {missing[0]!r}", "columns request_id and label")
    ignored = sorted(present - {*REQUIRED, *OPTIONAL})
    for name in ignored:
        absent = [each for each in OPTIONAL if each not in present]
        if near := difflib.get_close_matches(name, absent, n=1, cutoff=0.75):
            raise DataError(path, f"has a column {name!r}", f"{near[0]!r}, or neither")
    return tuple(ignored)


def _csv(path: Path) -> tuple[Iterable[str], Iterator[_Row]]:
    with _text(path) as file:
        try:
            names = next(csv.reader(file), [])
        except csv.Error as error:
            raise DataError(path, f"is not CSV: {error}", "a line of column names") from error
    if len(set(names)) < len(names) or not names:
        raise DataError(path, "has no header, or a column twice", "a line of column names")
    return names, _csv_rows(path, names)


def _csv_rows(path: Path, names: list[str]) -> Iterator[_Row]:
    with _text(path) as file:
        lines = csv.reader(file)
        next(lines)
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except csv.Error:  # a field that is too long; the next line may be well
                yield None
                continue
            if line:
                yield dict(zip(names, line, strict=True)) if len(line) == len(names) else None


def _text(path: Path) -> Any:
    """Open a text; bytes that are no UTF-8 are kept, so that only their rows are left out."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _json_lines(path: Path) -> tuple[Iterable[str], Iterator[_Row]]:
    return (), _json_rows(path)


def _json_rows(path: Path) -> Iterator[_Row]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield _json_row(line)


def _json_row(line: bytes) -> _Row:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _parquet(path: Path) -> tuple[Iterable[str], Iterator[_Row]]:
    names = pq.read_schema(path).names
    if len(set(names)) < len(names):
        raise DataError(path, "has a column twice", "columns request_id and label")
    wanted = [name for name in names if name in (*REQUIRED, *OPTIONAL)]
    return names, _parquet_rows(path, wanted)


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[_Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=columns):
            yield from batch.to_pylist()
