"""One round of a compaction: what was read of some segments, and how it becomes parts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.storing.columns import to_tables
from monitoring.storing.connection import open_connection
from monitoring.storing.ledger import VERSION, Entry, Part, new_commit, write_entry
from monitoring.storing.location import Location
from monitoring.storing.parts import write_parts
from monitoring.storing.quarantine import Quarantine
from monitoring.storing.record_key import without_known
from monitoring.storing.report import CompactionReport, Fault, Tally

SKEW_NS = 86_400 * 1_000_000_000
"""A record dated further ahead than this is counted as clock skew, and kept: it was answered."""


@dataclass(slots=True)
class Round:
    """Records read and not yet written; `segments` gives the bytes read of each segment."""

    segments: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    quarantine: Quarantine = field(init=False)
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.tally)

    def add(self, records: Sequence[msgspec.Struct]) -> None:
        """Take decoded records in."""
        for kind, table in to_tables(records).items():
            self.tables.setdefault(kind, []).append(table)

    def by_kind(self) -> dict[str, pa.Table]:
        """The records of each kind, in the order they were read."""
        return {kind: pa.concat_tables(tables) for kind, tables in self.tables.items()}

    def write(self, location: Location, known: Sequence[Part]) -> WrittenRound:
        """Write the records that are new as parts, then what was set aside, then the entry."""
        name = new_commit()
        parts: list[Part] = []
        records = duplicates = skewed = 0
        with open_connection() as connection:
            for kind, table in self.by_kind().items():
                new = without_known(connection, location, kind, table, known)
                records, duplicates = records + len(new), duplicates + len(table) - len(new)
                skewed += count_skewed(new)
                parts += write_parts(location, kind, new, name) if len(new) else []
        entry = Entry(
            version=VERSION,
            commit=name,
            segments=self.segments,
            parts=parts,
            quarantined={str(fault): n for fault, n in self.tally.quarantined.items()},
            quarantine=self.quarantine.write(location, name),
        )
        write_entry(location, entry)
        return WrittenRound(entry, self.tally, records, duplicates, skewed)


@dataclass(frozen=True, slots=True)
class WrittenRound:
    """A round that counts from now on."""

    entry: Entry
    tally: Tally
    records: int
    duplicates: int
    skewed: int


def count_skewed(table: pa.Table) -> int:
    """How many records are dated more than a day ahead of this machine's clock."""
    limit = time.time_ns() + SKEW_NS
    return pc.sum(pc.greater(table.column("timestamp_ns"), limit)).as_py() or 0


def summed(
    rounds: Sequence[WrittenRound], *, unreadable: int, orphans_removed: int
) -> CompactionReport:
    """One report of all rounds of a compaction."""
    quarantined, unknown, partitions = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    if unreadable:
        quarantined[Fault.UNREADABLE] = unreadable
    segments: set[str] = set()
    for one in rounds:
        segments |= one.entry.segments.keys()
        quarantined += one.tally.quarantined
        unknown += one.tally.unknown_fields
        for part in one.entry.parts:
            partitions[part.partition] += part.rows
    return CompactionReport(
        segments=len(segments),
        bytes_read=sum(one.tally.bytes_read for one in rounds),
        records=sum(one.records for one in rounds),
        duplicates=sum(one.duplicates for one in rounds),
        clock_skew=sum(one.skewed for one in rounds),
        quarantined=dict(quarantined),
        unknown_fields=dict(unknown),
        partitions=dict(partitions),
        orphans_removed=orphans_removed,
    )
