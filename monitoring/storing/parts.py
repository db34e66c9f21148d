"""Parts: the Parquet files of a store, one for each partition that a round falls into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.storing.ledger import Part
from monitoring.storing.location import Location
from monitoring.storing.record_types import arrow_schema

NOT_SERVED = "__HIVE_DEFAULT_PARTITION__"
"""Stands for the model where a request named none that answered: callers choose those names, and a
folder for each would let them fill the store with folders."""
_DAY_NS = 86_400 * 1_000_000_000
_ROW_GROUP = 65_536
_LONGEST_NAME = 200


def write_parts(location: Location, kind: str, table: pa.Table, name: str) -> list[Part]:
    """Write the rows of a table as one part for each model and date; `name` is unique."""
    return [
        _write(location, kind, model, date, rows, name)
        for model, date, rows in _partitions(kind, table)
    ]


@cache
def columns_digest(kind: str) -> str:
    """A digest of the names and types of the columns that are written today."""
    return hashlib.sha256(str(arrow_schema(kind)).encode()).hexdigest()[:16]


def _write(location: Location, kind: str, model: str, date: str, rows: pa.Table, name: str) -> Part:
    path = f"kind={kind}/model={_folder_name(model)}/date={date}/{name}.parquet"
    with location.writing(path) as stream:
        pq.write_table(rows, stream, compression="zstd", row_group_size=_ROW_GROUP)
    bounds = pc.min_max(rows.column("timestamp_ns")).as_py()
    return Part(
        path=path,
        kind=kind,
        model=model,
        date=date,
        rows=len(rows),
        bytes=rows.nbytes,
        min_ns=bounds["min"],
        max_ns=bounds["max"],
        columns=columns_digest(kind),
    )


def _folder_name(model: str) -> str:
    """A model's name as part of a path; of a very long one, the beginning and a digest."""
    quoted = quote(model, safe="")
    if len(quoted) <= _LONGEST_NAME:
        return quoted
    return f"{quoted[:_LONGEST_NAME]}~{hashlib.sha256(model.encode()).hexdigest()[:16]}"


def _partitions(kind: str, table: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    models = _partition_models(kind, table)
    days = pc.divide(table.column("timestamp_ns"), _DAY_NS)
    both = pa.table({"model": models, "day": days})
    groups = both.group_by(["model", "day"]).aggregate([]).to_pylist()
    for group in sorted(groups, key=lambda one: (one["model"], one["day"])):
        model, day = group["model"], group["day"]
        date = datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
        if len(groups) == 1:
            yield model, date, table
        else:
            chosen = pc.and_(pc.equal(models, model), pc.equal(days, day))
            yield model, date, table.filter(chosen)


def _partition_models(kind: str, table: pa.Table) -> pa.ChunkedArray:
    models = table.column("model")
    if kind != "access":
        return models
    served = pc.unique(models.filter(pc.greater(table.column("items_ok"), 0)))
    return pc.if_else(pc.is_in(models, value_set=served), models, NOT_SERVED)
