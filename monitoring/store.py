"""The log store: the request log as Parquet, compacted segment by segment, asked in SQL.

    LOCATION/kind=inference/model=mnist/date=2026-01-31/COMMIT-0.parquet   the records
    LOCATION/ledger/COMMIT.json         which segments were taken, and which parts count
    LOCATION/quarantine/COMMIT.jsonl    the lines that are no records, and why

A location is a folder or `s3://bucket/prefix`. Live segments of a log directory, those that were
not compacted yet, are read along, so that answers are never older than the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.config import MonitoringConfig
from monitoring.request_log import RequestLogConfig
from monitoring.storing.compaction import Progress, compact
from monitoring.storing.ledger import read_ledger
from monitoring.storing.location import Location, S3Options, locate
from monitoring.storing.report import CompactionReport, Fault
from monitoring.storing.views import LiveReport, connect
from torchkeep.paths import Home
from torchkeep.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["CompactionReport", "Fault", "LiveReport", "LogStore", "S3Options", "StoreSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSummary:
    """What a store holds: rows and parts of each partition, and what was ever set aside."""

    location: str
    bytes: int
    segments: int
    records: int
    partitions: dict[str, int] = field(default_factory=dict)
    parts: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)


class LogStore:
    """A store at a location, and the log directory whose live segments are read along."""

    def __init__(
        self,
        location: str | Path,
        log_directory: Path | None = None,
        *,
        options: S3Options | None = None,
    ) -> None:
        """Name the places; nothing is opened or made yet.

        Raises `UserError` for a location that is neither a folder nor `s3://bucket/prefix`.
        """
        self._location: Location = locate(location, options)
        self._log_directory = log_directory

    @classmethod
    def from_settings(
        cls,
        home: Home | None = None,
        *,
        location: str | None = None,
        log_directory: Path | None = None,
    ) -> LogStore:
        """The store and the log that the settings name, or those that are given in their place.

        Raises `SettingsError` for settings that do not fit, `UserError` as `LogStore` does.
        """
        home = home or Home.default()
        settings = Settings.load()
        config = settings.section("monitoring", MonitoringConfig)
        log = settings.section("request_log", RequestLogConfig)
        return cls(
            location or config.location(home),
            log_directory or log.location(home),
            options=S3Options(config.s3_endpoint, config.s3_region),
        )

    @property
    def location(self) -> str:
        """Where the store lies, as it was given."""
        return self._location.name

    def compact(
        self, *, keep_segments: bool = True, progress: Progress | None = None
    ) -> CompactionReport:
        """Take all closed segments that were not taken yet; seal abandoned ones first.

        Without `keep_segments`, segments whose lines are all in the store are removed afterwards.
        `progress` is told the bytes that were read, and all there are.
        Raises `UserError` if the store has no log directory, if another process is compacting into
        the same folder, or if object storage refuses; `OSError` if the disk is full.
        """
        return compact(
            self._location, self._log_directory, keep_segments=keep_segments, progress=progress
        )

    def connect(
        self, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> duckdb.DuckDBPyConnection:
        """Open a new connection with the views `inference` and `access`, duplicates gone.

        The columns are those of the schema, `time` (TIMESTAMP, UTC) and `date`. Of parts that lie
        wholly outside [start, end) nothing is read; other rows outside may still be there. The
        connection reads no other files, and its settings are locked; other tables are `register`ed.
        """
        return connect(self._location, self._log_directory, start_ns, end_ns)[0]

    def live(self) -> LiveReport:
        """What reading the live segments finds: records, and damaged lines by fault."""
        connection, report = connect(self._location, self._log_directory, None, None)
        connection.close()
        return report

    def table(self, query: str, parameters: list[Any] | None = None) -> pa.Table:
        """The answer to one query, with a connection of its own."""
        with self.connect() as connection:
            return connection.sql(query, params=parameters).to_arrow_table()

    def reused_request_ids(self) -> int:
        """How many requests carry an id that was used before: callers choose ids, so they may.

        They are kept apart by their time; only records that are equal in every part of the key are
        duplicates.
        """
        return int(self.table(_REUSED).column(0)[0].as_py())

    def summary(self) -> StoreSummary:
        """Count what the store holds, live segments aside."""
        ledger = read_ledger(self._location)
        partitions: dict[str, int] = {}
        for part in ledger.parts:
            partitions[part.partition] = partitions.get(part.partition, 0) + part.rows
        quarantined: dict[str, int] = {}
        for entry in ledger.entries:
            for fault, count in entry.quarantined.items():
                quarantined[fault] = quarantined.get(fault, 0) + count
        return StoreSummary(
            location=self.location,
            bytes=self._location.size(),
            segments=len(ledger.segments),
            records=sum(partitions.values()),
            partitions=partitions,
            parts=len(ledger.parts),
            quarantined=quarantined,
        )


_REUSED = """
    SELECT coalesce(sum(times - 1), 0) FROM (
        SELECT count(DISTINCT timestamp_ns) AS times FROM inference
        GROUP BY request_id, item, model, model_version, role, attempt, client
    )
"""
