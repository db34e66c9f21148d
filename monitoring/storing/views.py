"""The views `inference` and `access`: parts of the store and live segments as one table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from monitoring.storing.collector import collector_paused
from monitoring.storing.connection import lock, open_connection, quoted, reading_parts
from monitoring.storing.ledger import Ledger, Part, read_ledger
from monitoring.storing.lines import decode_block, read_blocks
from monitoring.storing.live import Source, not_taken, open_source, sources
from monitoring.storing.location import Location
from monitoring.storing.parts import columns_digest
from monitoring.storing.record_key import key_of, without_known
from monitoring.storing.record_types import arrow_schema
from monitoring.storing.report import Fault
from monitoring.storing.rounds import Round, count_skewed
from torchkeep.errors import UserError
from torchkeep.schema import LOGGED

_LIVE_ROUND_BYTES = 64 * 1024 * 1024
_TRIES = 5


@dataclass(slots=True)
class LiveReport:
    """What was found in segments that the store has not taken yet."""

    segments: int = 0
    records: int = 0
    duplicates: int = 0
    clock_skew: int = 0
    quarantined: dict[Fault, int] = field(default_factory=dict)
    """Damaged lines by fault; the unfinished line of a living writer is none."""


def connect(
    location: Location,
    log_directory: Path | None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> tuple[duckdb.DuckDBPyConnection, LiveReport]:
    """Open a connection with both views, locked against all other files; see `LogStore`."""
    for _ in range(_TRIES):
        found = sources(log_directory) if log_directory else []
        ledger = read_ledger(location)
        live = not_taken(found, ledger)
        connection = open_connection()
        report = _load_live(connection, location, ledger, live)
        if not live or not _changed(ledger, read_ledger(location), live):
            with reading_parts(location.name):
                _make_views(connection, location, ledger, start_ns, end_ns)
            return connection, report
        connection.close()  # a compaction took some of them while we read: look again
    raise UserError(f"{location.name} is being compacted", remedy="Try again.")


def _changed(before: Ledger, now: Ledger, live: Sequence[Source]) -> bool:
    return any(before.segments.get(one.name) != now.segments.get(one.name) for one in live)


def _load_live(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    ledger: Ledger,
    live: Sequence[Source],
) -> LiveReport:
    for kind in LOGGED:
        connection.register("no_records", arrow_schema(kind).empty_table())
        connection.execute(f"CREATE TABLE live_{kind} AS FROM no_records")
        connection.unregister("no_records")
    report = LiveReport()
    reading = Round()
    for source in live:
        report.segments += 1
        _read(source, reading, report)
        if reading.tally.bytes_read >= _LIVE_ROUND_BYTES:
            _insert(connection, location, ledger, reading, report)
            reading = Round()
    _insert(connection, location, ledger, reading, report)
    return report


def _read(source: Source, reading: Round, report: LiveReport) -> None:
    try:
        with collector_paused(), open_source(source) as file:
            for block in read_blocks(file):
                if not (source.is_open and block.fault is Fault.TORN):
                    reading.add(decode_block(block, source.name, reading.quarantine))
    except FileNotFoundError:
        return  # shipped and removed since we looked
    except OSError:
        report.quarantined[Fault.UNREADABLE] = report.quarantined.get(Fault.UNREADABLE, 0) + 1


def _insert(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    ledger: Ledger,
    reading: Round,
    report: LiveReport,
) -> None:
    for fault, count in reading.tally.quarantined.items():
        report.quarantined[fault] = report.quarantined.get(fault, 0) + count
    for kind, table in reading.by_kind().items():
        new = without_known(connection, location, kind, table, ledger.parts, f"live_{kind}")
        report.records += len(new)
        report.duplicates += len(table) - len(new)
        report.clock_skew += count_skewed(new)
        connection.register("new_records", new)
        connection.execute(f"INSERT INTO live_{kind} BY NAME FROM new_records")
        connection.unregister("new_records")


def _make_views(
    connection: duckdb.DuckDBPyConnection,
    location: Location,
    ledger: Ledger,
    start_ns: int | None,
    end_ns: int | None,
) -> None:
    parts = [part for part in ledger.parts if part.overlaps(start_ns, end_ns)]
    for kind in LOGGED:
        of_kind = [part for part in parts if part.kind == kind]
        stored = " UNION ALL BY NAME ".join(_stored(connection, location, kind, of_kind))
        if stored and ledger.has_overlaps:
            stored = f"SELECT DISTINCT ON ({', '.join(key_of(kind))}) * FROM ({stored})"  # noqa: S608
        union = f"FROM live_{kind}" + (f" UNION ALL BY NAME {stored}" if stored else "")
        connection.execute(
            f"CREATE VIEW {kind} AS SELECT *, make_timestamp(timestamp_ns // 1000) AS time, "  # noqa: S608
            f"make_timestamp(timestamp_ns // 1000)::DATE AS date FROM ({union})"
        )
    lock(connection, [location.path(part.path) for part in parts] if location.is_local else [])


def _stored(
    connection: duckdb.DuckDBPyConnection, location: Location, kind: str, parts: Sequence[Part]
) -> list[str]:
    """A query for each set of parts with the same columns; older ones may lack some."""
    queries = []
    for digest in sorted({part.columns for part in parts}):
        paths = [location.path(part.path) for part in parts if part.columns == digest]
        if location.is_local:
            files = ", ".join(quoted(path) for path in paths)
            source = f"read_parquet([{files}], hive_partitioning = false)"
        else:
            source = f"{kind}_{digest}"
            schema = arrow_schema(kind) if digest == columns_digest(kind) else None
            dataset = ds.dataset(paths, schema, format="parquet", filesystem=location.filesystem)
            connection.register(source, dataset)
        queries.append(f"FROM {source}")
    return queries
