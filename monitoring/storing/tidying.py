"""Tidying a store: the small parts of a partition become one, and many ledger entries become one.

Without it, a store that is compacted every few minutes would be a hundred thousand little files
after a year. Where two compactions took the same segments, this is what makes one of each record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.dataset as ds

from monitoring.storing.connection import open_connection, reading_parts
from monitoring.storing.ledger import VERSION, Entry, Ledger, Part, age_s, new_commit, write_entry
from monitoring.storing.location import Location
from monitoring.storing.parts import columns_digest, write_parts
from monitoring.storing.record_key import without_known
from monitoring.storing.record_types import arrow_schema

MOST_ENTRIES = 32
"""More entries than these are made one, and with them their parts."""
FULL_ROWS = 200_000
FULL_BYTES = 256 * 1024 * 1024
"""Parts are put together until they have about as many rows, or take so much memory."""
GRACE_S = 3600.0
"""For so long the parts that were put together stay for those who had begun to read them."""


def tidy(location: Location, ledger: Ledger) -> None:
    """Put small parts and entries together if there are many, or if records are there twice."""
    if len(ledger.entries) <= MOST_ENTRIES and not ledger.has_overlaps:
        return
    if not ledger.has_overlaps or all(_is_current(part) for part in ledger.parts):
        write_entry(location, _merged(location, ledger))


def _merged(location: Location, ledger: Ledger) -> Entry:
    name = new_commit()
    parts = list(_rewritten(location, ledger, name))
    quarantined: Counter[str] = Counter()
    for entry in ledger.entries:
        quarantined.update(entry.quarantined)
    return Entry(
        version=VERSION,
        commit=name,
        segments=dict(ledger.segments),
        parts=parts,
        quarantined=dict(quarantined),
        quarantine=[path for entry in ledger.entries for path in entry.quarantine],
        replaces=[*(entry.commit for entry in ledger.entries), *ledger.ignored],
        retired=sorted(
            {part.path for part in ledger.parts} - {part.path for part in parts}
            | set(retired_parts(ledger))
        ),
    )


def retired_parts(ledger: Ledger) -> list[str]:
    """Parts that were put together so lately that somebody may still read them."""
    return [
        path for entry in ledger.entries if age_s(entry.commit) < GRACE_S for path in entry.retired
    ]


def _rewritten(location: Location, ledger: Ledger, name: str) -> Iterator[Part]:
    written: list[Part] = []
    with open_connection() as connection:
        for number, group in enumerate(_groups(ledger.parts)):
            if len(group) == 1 and not ledger.has_overlaps:
                yield group[0]
                continue
            kind, table = group[0].kind, _read(location, group)
            if ledger.has_overlaps:
                table = without_known(connection, location, kind, table, written)
            if len(table):
                parts = write_parts(location, kind, table, f"{name}-{number}")
                written += parts
                yield from parts


def _groups(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts of one partition that together are about one full part; full ones stay alone."""
    ordered = sorted(parts, key=lambda part: (part.partition, part.path))
    for _, of_partition in groupby(ordered, key=lambda part: part.partition):
        group: list[Part] = []
        for part in of_partition:
            if not _is_current(part) or _is_full([part]):
                yield [part]
                continue
            group.append(part)
            if _is_full(group):
                yield group
                group = []
        if group:
            yield group


def _is_full(parts: Sequence[Part]) -> bool:
    rows, size = sum(part.rows for part in parts), sum(part.bytes for part in parts)
    return rows >= FULL_ROWS or size >= FULL_BYTES


def _is_current(part: Part) -> bool:
    return part.columns == columns_digest(part.kind)


def _read(location: Location, parts: Sequence[Part]) -> pa.Table:
    paths = [location.path(part.path) for part in parts]
    schema = arrow_schema(parts[0].kind)
    with reading_parts(location.name):
        found = ds.dataset(paths, schema, format="parquet", filesystem=location.filesystem)
        return found.to_table()
