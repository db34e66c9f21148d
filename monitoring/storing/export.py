"""Records written to one file: Parquet, CSV, or JSON lines that the log reader takes again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from monitoring.storing.flat import flat_columns
from monitoring.storing.record_types import arrow_schema, required_fields
from torchkeep.errors import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS = 65_536


class ExportFormat(StrEnum):
    """How exported records are written."""

    PARQUET = "parquet"  # columns as in the store
    CSV = "csv"  # structs as columns such as runtime_ms.total; lists as JSON
    JSONL = "jsonl"  # as logged


def export(
    connection: DuckDBPyConnection,
    kind: str,
    condition: str,
    parameters: list[Any],
    form: ExportFormat,
    output: Path,
) -> int:
    """Write the records of a kind that meet a condition, oldest first; returns how many.

    The file is there whole or not at all; one that is there is replaced only then. Raises
    `UserError` if it cannot be written.
    """
    columns = _COLUMNS[form](kind)
    query = (
        f"SELECT {columns} FROM {kind} WHERE {condition} "  # noqa: S608 - names of our own
        "ORDER BY timestamp_ns, request_id" + (", item" if kind == "inference" else "")
    )
    reader = connection.sql(query, params=parameters).to_arrow_reader(_ROWS)
    try:
        with _whole_file(output) as file:
            return _WRITERS[form](reader, file)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror or error}", remedy="Name another file."
        ) from error


def _parquet(reader: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


def _csv(reader: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    with pa_csv.CSVWriter(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


def _jsonl(reader: pa.RecordBatchReader, file: BinaryIO) -> int:
    rows = 0
    optional = reader.schema.names[1:]
    for batch in reader:
        always, *others = (column.to_pylist() for column in batch.columns)
        for name, values in zip(optional, others, strict=True):
            for row, value in enumerate(values):
                if value is not None:
                    always[row] = f'{always[row][:-1]},"{name}":{value}}}'
        file.writelines(f"{line}\n".encode() for line in always)
        rows += len(batch)
    return rows


def _as_json(kind: str) -> str:
    """The SQL of one column with all that a record always has, and one for each optional field."""
    required = required_fields(kind)
    names = arrow_schema(kind).names
    always = ", ".join(f'"{name}" := "{name}"' for name in names if name in required)
    optional = [
        f'CASE WHEN "{name}" IS NOT NULL THEN to_json("{name}")::VARCHAR END AS "{name}"'
        for name in names
        if name not in required
    ]
    return ", ".join([f"to_json(struct_pack({always}))::VARCHAR AS record", *optional])


def _as_stored(kind: str) -> str:
    return "*"


def _as_text(kind: str) -> str:
    return flat_columns(kind, lists_as_text=True)


_COLUMNS = {
    ExportFormat.PARQUET: _as_stored,
    ExportFormat.CSV: _as_text,
    ExportFormat.JSONL: _as_json,
}
_WRITERS = {ExportFormat.PARQUET: _parquet, ExportFormat.CSV: _csv, ExportFormat.JSONL: _jsonl}


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name only if the block ends well; only its owner may read it."""
    path = path.absolute()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
