"""Compaction: closed segments become parts of the store, a few hundred MB of lines a round.

Each round ends with its ledger entry, so that a compaction that is killed loses one round of work
and no record. While one round is written, the next is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from monitoring.segment import seal_abandoned
from monitoring.storing.collector import collector_paused
from monitoring.storing.ledger import Ledger, Part, read_ledger
from monitoring.storing.lines import decode_block, read_blocks
from monitoring.storing.live import Source, not_taken, open_source, sources
from monitoring.storing.location import COMMIT_GLOB, Location
from monitoring.storing.report import CompactionReport
from monitoring.storing.rounds import Round, WrittenRound, summed
from monitoring.storing.tidying import retired_parts, tidy
from torchkeep.errors import UserError

ROUND_BYTES = 256 * 1024 * 1024
_ORPHAN_AGE_S = 86_400.0

Progress = Callable[[str, int, int], None]


def compact(
    location: Location,
    log_directory: Path | None,
    *,
    keep_segments: bool = True,
    progress: Progress | None = None,
) -> CompactionReport:
    """Take the closed segments of a log directory that were not taken yet; see `LogStore`."""
    if log_directory is None:
        raise UserError(
            f"log store {location.name} has no log directory", remedy="Name the one to compact."
        )
    with location.locked():
        ledger = read_ledger(location)
        orphans = _remove_orphans(location, ledger)
        closed = not_taken(_closed(log_directory), ledger)
        with ThreadPoolExecutor(1) as writer:
            compaction = _Compaction(location, ledger, writer, keep_segments, progress)
            rounds = compaction.take(closed)
        tidy(location, read_ledger(location))
    return summed(rounds, unreadable=compaction.unreadable, orphans_removed=orphans)


def _closed(log_directory: Path) -> list[Source]:
    """The closed segments, those whose writers have died included."""
    with suppress(OSError):  # then the listing says what is the matter
        seal_abandoned(log_directory)
    return [source for source in sources(log_directory) if not source.is_open]


class _Compaction:
    """The rounds of one compaction: one is read while the one before is written."""

    def __init__(
        self,
        location: Location,
        ledger: Ledger,
        writer: ThreadPoolExecutor,
        keep_segments: bool,
        progress: Progress | None,
    ) -> None:
        self._location = location
        self._parts: list[Part] = list(ledger.parts)
        self._writer = writer
        self._keep_segments = keep_segments
        self._progress = progress
        self.written: list[WrittenRound] = []
        self.unreadable = 0
        self._being_written: Future[WrittenRound] | None = None
        self._faulty: set[str] = set()

    def take(self, closed: list[Source]) -> list[WrittenRound]:
        """Read and write all of these, oldest first."""
        reading = Round()
        done, total = 0, sum(source.size for source in closed)
        for source in closed:
            reading = self._read(source, reading)
            done += source.size
            if self._progress is not None:
                self._progress("compacting", done, total)
        if reading.segments:
            self._write(reading)
        self._settle()
        if not self._keep_segments:
            self._remove(closed)
        return self.written

    def _read(self, source: Source, reading: Round) -> Round:
        """Read a source into the round; return that, or the next if the round is full."""
        try:
            with collector_paused(), open_source(source) as file:
                for block in read_blocks(file):
                    if reading.tally.bytes_read >= ROUND_BYTES:
                        self._write(reading)
                        reading = Round()
                    reading.add(decode_block(block, source.name, reading.quarantine))
                    reading.segments[source.name] = block.offset + len(block.content)
                reading.segments[source.name] = file.tell()
        except FileNotFoundError:
            pass  # shipped and removed since we looked
        except OSError:
            self.unreadable += 1
            reading.segments.pop(source.name, None)  # so it is tried again next time
        return reading

    def _write(self, reading: Round) -> None:
        self._settle()
        self._faulty |= reading.quarantine.segments
        self._being_written = self._writer.submit(reading.write, self._location, list(self._parts))

    def _settle(self) -> None:
        """Wait for the round that is being written."""
        if self._being_written is not None:
            done = self._being_written.result()
            self._being_written = None
            self._parts += done.entry.parts
            self.written.append(done)

    def _remove(self, closed: list[Source]) -> None:
        """Remove what the store holds whole, line for line."""
        taken = {name: size for one in self.written for name, size in one.entry.segments.items()}
        for source in closed:
            if source.name not in self._faulty and taken.get(source.name) == source.size:
                with suppress(OSError):
                    source.path.unlink()


def _remove_orphans(location: Location, ledger: Ledger) -> int:
    """Remove files of compactions that were killed; returns how many.

    In object storage another compaction may be about to name them, so they get a day first. Files
    that somebody else put there are left alone.
    """
    named = {part.path for part in ledger.parts} | set(retired_parts(ledger))
    named.update(path for entry in ledger.entries for path in entry.quarantine)
    ours = (f"kind=*/model=*/date=*/{COMMIT_GLOB}.parquet", f"quarantine/{COMMIT_GLOB}.jsonl")
    age_s = 0.0 if location.is_local else _ORPHAN_AGE_S
    location.remove_temporary()
    orphans = [
        path
        for path in location.files("", older_than_s=age_s)
        if path not in named and any(PurePosixPath(path).match(one) for one in ours)
    ]
    for path in orphans:
        location.remove(path)
    return len(orphans)
