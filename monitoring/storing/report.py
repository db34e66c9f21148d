"""What became of each line that a compaction met: kept, known already, or set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """Why a line is no record, or a segment could not be taken."""

    TORN = "torn tail"
    TOO_LONG = "line too long"
    NOT_JSON = "not JSON"
    NOT_AN_OBJECT = "not an object"
    NO_KIND = "no known kind of record"
    UNKNOWN_SCHEMA = "unknown schema version"
    IMPOSSIBLE_TIME = "impossible timestamp"
    MISSING_FIELD = "required field missing"
    WRONG_TYPE = "field of a wrong type"
    UNREADABLE = "segment cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionReport:
    """What one compaction did. Lines in = `records` + `duplicates` + those in `quarantined`.

    `quarantined` counts lines by fault; a segment that cannot be read counts once, and is tried
    again next time. `partitions` counts the rows added to each, such as
    `kind=inference/model=mnist/date=2026-11-24`. `unknown_fields` are not kept; their records are.
    `clock_skew` counts records that are kept although they are dated over a day ahead.
    """

    segments: int = 0
    bytes_read: int = 0
    records: int = 0
    duplicates: int = 0
    clock_skew: int = 0
    quarantined: Mapping[Fault, int] = field(default_factory=dict)
    unknown_fields: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    orphans_removed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report as a plain object."""
        return {
            "segments": self.segments,
            "bytes_read": self.bytes_read,
            "records": self.records,
            "duplicates": self.duplicates,
            "clock_skew": self.clock_skew,
            "quarantined": {str(fault): count for fault, count in self.quarantined.items()},
            "unknown_fields": dict(self.unknown_fields),
            "partitions": dict(self.partitions),
            "orphans_removed": self.orphans_removed,
        }


@dataclass(slots=True)
class Tally:
    """The counts of a reading in progress."""

    bytes_read: int = 0
    clock_skew: int = 0
    quarantined: Counter[Fault] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)
