"""Labels that arrive later: an append-only table, and what was known at any time.

Each import is one Parquet file, written whole or not at all, which never changes again:

    labels-ADDED-RANDOM.parquet     ADDED is when it was added (UTC, ns)

The same item may be labelled again. The label with the latest `labelled_at_ns` wins, and reading
*as of* a time leaves out what was labelled after it, so that an old report can be made again. Two
different labels of the same item with the same time are a conflict: neither counts.

    L labels
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from torchkeep.atomic_file import write_atomic
from torchkeep.errors import UserError
from torchkeep.paths import Home

SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("item", pa.int64(), nullable=False),
        pa.field("client", pa.string()),
        pa.field("label", pa.string(), nullable=False),
        pa.field("labelled_at_ns", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("added_at_ns", pa.int64(), nullable=False),
    ]
)
"""A row; `client` is null where whoever labelled did not know the client's pseudonym."""
KEY = ["request_id", "item", "client"]

_FILE = re.compile(r"labels-.*\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """At most one label for each key (request id, item, client or "").

    Texts are Python's: an array of fixed width would give each the room of the longest.
    """

    request_id: NDArray[np.object_]  # L
    item: NDArray[np.int64]  # L
    client: NDArray[np.object_]  # L, "" where none was given
    label: NDArray[np.object_]  # L, name of a class
    labelled_at_ns: NDArray[np.int64]  # L
    rows: int
    """Rows of the table, those after the time asked for left out."""
    later: int
    """Rows labelled after that time."""
    revised: int
    """Keys whose label was another one before."""
    conflicting: int
    """Keys left out because two different labels have the same, latest time."""
    unreadable: tuple[str, ...]
    """Names of files that hold no such table."""

    def __len__(self) -> int:
        return len(self.label)


class LabelStore:
    """The table in one folder; any number of processes may add to it at the same time."""

    def __init__(self, location: Path) -> None:
        """Use the folder `location`; it is made by the first `add`."""
        self.location = location

    @classmethod
    def default(cls, home: Home) -> LabelStore:
        """The table of one home: the folder `labels` in it."""
        return cls(home.root / "labels")

    def add(self, rows: pa.Table, *, now_ns: int | None = None) -> Path | None:
        """Append rows, and return the file that holds them; None if there are no rows.

        `rows` has the columns of `SCHEMA` but `added_at_ns`. Raises `UserError` if the folder
        cannot be written; then nothing was added.
        """
        if not len(rows):
            return None
        added = time.time_ns() if now_ns is None else now_ns
        column = pa.array(np.full(len(rows), added, dtype=np.int64))
        table = rows.append_column("added_at_ns", column).select(SCHEMA.names).cast(SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        path = self.location / f"labels-{added:020d}-{secrets.token_hex(4)}.parquet"
        try:
            write_atomic(path, sink.getvalue().to_pybytes(), mode=0o600)
        except OSError as error:
            raise UserError(
                f"labels cannot be written to {self.location}: {error.strerror}"
            ) from error
        return path

    def read(self, *, as_of_ns: int | None = None) -> Labels:
        """Return the labels that hold, or held at the time `as_of_ns` (UTC, ns).

        A folder that is not there has none. Raises `UserError` if it cannot be listed.
        """
        table, unreadable = self._table()
        later = 0
        if as_of_ns is not None:
            known = table[table["labelled_at_ns"] <= as_of_ns]
            later = len(table) - len(known)
            table = known
        return _latest(table, later, unreadable)

    def _files(self) -> list[Path]:
        try:  # `Path.glob` finds nothing where it may not look
            return sorted(path for path in self.location.iterdir() if _FILE.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(
                f"labels cannot be read from {self.location}: {error.strerror}"
            ) from error

    def _table(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """All rows in the order they were added, and the names of the files that have none."""
        tables, unreadable = [SCHEMA.empty_table()], []
        for path in self._files():
            try:
                with pq.ParquetFile(path) as file:
                    tables.append(file.read(columns=SCHEMA.names).cast(SCHEMA))
            except (OSError, ValueError):  # pyarrow's own errors are ValueErrors
                unreadable.append(path.name)
        frame = pa.concat_tables(tables).to_pandas()
        frame["client"] = frame["client"].fillna("")
        return frame.sort_values("added_at_ns", kind="stable"), tuple(unreadable)


def _latest(table: pd.DataFrame, later: int, unreadable: tuple[str, ...]) -> Labels:
    key = table.groupby(KEY, sort=False).ngroup()
    label = pd.Series(pd.factorize(table["label"])[0], table.index)  # compares faster than texts
    revised = int((label.groupby(key).nunique() > 1).sum())
    latest = table["labelled_at_ns"] == table["labelled_at_ns"].groupby(key).transform("max")
    newest, key, label = table[latest], key[latest], label[latest]
    different = label.groupby(key).transform("nunique") > 1
    kept = newest[~different & ~key.duplicated(keep="last")]
    conflicting = key[different].nunique()
    return Labels(
        request_id=kept["request_id"].to_numpy(dtype=np.object_),
        item=kept["item"].to_numpy(dtype=np.int64),
        client=kept["client"].to_numpy(dtype=np.object_),
        label=kept["label"].to_numpy(dtype=np.object_),
        labelled_at_ns=kept["labelled_at_ns"].to_numpy(dtype=np.int64),
        rows=len(table),
        later=later,
        revised=revised - conflicting,
        conflicting=conflicting,
        unreadable=unreadable,
    )
