"""Lines that are no records, kept with their fault and place: nothing is lost in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from monitoring.storing.location import Location
from monitoring.storing.report import Fault, Tally

FOLDER = "quarantine"
MOST_BYTES = 16 * 1024 * 1024
"""Of one compaction round; what goes beyond is counted, and stays in its segment only."""
MOST_BYTES_OF_LINE = 64 * 1024
_MOST_DETAIL = 300


@dataclass(slots=True)
class Quarantine:
    """Counts faults in a tally and keeps their lines until they are written, as JSON lines."""

    tally: Tally
    segments: set[str] = field(default_factory=set)
    """Segments with a fault: they stay where they are."""
    _lines: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    def add(
        self, fault: Fault, segment: str, offset: int, content: bytes, detail: str = ""
    ) -> None:
        """Set a line aside; of a very long one, the beginning."""
        self.tally.quarantined[fault] += 1
        self.segments.add(segment)
        if self._bytes >= MOST_BYTES:
            return
        line = {
            "fault": fault,
            "detail": detail[:_MOST_DETAIL],
            "segment": segment,
            "offset": offset,
            "bytes": len(content),
            "line": content[:MOST_BYTES_OF_LINE].decode("utf-8", "backslashreplace"),
        }
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._bytes += len(self._lines[-1])

    def write(self, location: Location, commit: str) -> list[str]:
        """Write what there is; returns the relative paths of what was written."""
        if not self._lines:
            return []
        path = f"{FOLDER}/{commit}.jsonl"
        location.write(path, b"".join(self._lines))
        return [path]
