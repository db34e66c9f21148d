"""The ledger of a log store: which segments were taken, and which parts hold their records.

One file a round, written last and whole. A part that no entry names does not count, so a
compaction that was killed between the two leaves nothing behind but files that nobody reads. An
entry may stand for older ones: then those do not count any more, whether they are removed or not.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from monitoring.storing.location import Location
from torchkeep.errors import UserError

FOLDER = "ledger"
VERSION = 1
_TRIES = 5


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file: its relative path, its rows, and the span of their timestamps."""

    path: str
    kind: str
    model: str
    date: str
    rows: int
    bytes: int
    """Size of its rows in memory."""
    min_ns: int
    max_ns: int
    columns: str
    """Digest of the names and types of its columns."""

    @property
    def partition(self) -> str:
        """The folder that the part lies in."""
        return self.path.rpartition("/")[0]

    def overlaps(self, start_ns: int | None, end_ns: int | None) -> bool:
        """Whether a timestamp of the part may lie in [start, end)."""
        return (start_ns is None or self.max_ns >= start_ns) and (
            end_ns is None or self.min_ns < end_ns
        )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one round took and wrote; `segments` gives each file's bytes when it was taken."""

    version: int
    commit: str
    segments: dict[str, int]
    parts: list[Part]
    quarantined: dict[str, int]
    quarantine: list[str] = []
    """Relative paths of the lines that were set aside."""
    replaces: list[str] = []
    """Commits of the entries that this one stands for."""
    retired: list[str] = []
    """Parts of those that do not count any more; readers that began before may still read them."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All entries that count, oldest first."""

    entries: Sequence[Entry] = ()
    has_overlaps: bool = False
    """Two compactions took some segments both: their records may be there twice."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """The bytes of each segment when it was last taken."""
    ignored: Sequence[str] = ()
    """Commits of entries that do not count."""

    @property
    def parts(self) -> list[Part]:
        """All parts that count."""
        return [part for entry in self.entries for part in entry.parts]

    def has(self, segment: str, size: int) -> bool:
        """Whether all of a segment was taken; one that has grown since was not."""
        return self.segments.get(segment, -1) >= size


def new_commit() -> str:
    """A name that no other round has; names sort by time."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"


def age_s(commit: str) -> float:
    """How long ago a commit got its name."""
    return (time.time_ns() - int(commit.partition("-")[0])) / 1e9


def read_ledger(location: Location) -> Ledger:
    """Read the ledger; a store that is not there has an empty one.

    Raises `UserError` if an entry cannot be read: to leave it out would lose records in silence.
    """
    for _ in range(_TRIES):
        try:
            entries = [_read_entry(location, path) for path in location.files(FOLDER)]
        except FileNotFoundError:
            continue  # another entry has just taken its place
        return _resolve(entries)
    raise UserError(f"log store {location.name} changes all the time", remedy="Try again.")


def write_entry(location: Location, entry: Entry) -> None:
    """Make an entry count, and remove those that it stands for."""
    location.write(path_of(entry.commit), msgspec.json.encode(entry))
    for commit in entry.replaces:
        with suppress(FileNotFoundError):
            location.remove(path_of(commit))


def path_of(commit: str) -> str:
    """The relative path of an entry."""
    return f"{FOLDER}/{commit}.json"


def _read_entry(location: Location, path: str) -> Entry:
    try:
        entry = msgspec.json.decode(location.read(path), type=Entry)
    except msgspec.MsgspecError as error:
        raise UserError(
            f"{location.name}/{path} is damaged: {error}",
            remedy="Restore it. Without it its parts are removed, too, so remove it only where its "
            "segments were kept.",
        ) from error
    if entry.version != VERSION:
        raise UserError(
            f"{location.name}/{path} is of version {entry.version}, this reads {VERSION}",
            remedy="Use the torchkeep that wrote it.",
        )
    return entry


def _resolve(entries: Sequence[Entry]) -> Ledger:
    """Leave out what was replaced, and what takes again, whole, what others had taken."""
    replaced = {commit for entry in entries for commit in entry.replaces}
    kept: list[Entry] = []
    ignored: list[str] = []
    taken: set[tuple[str, int]] = set()
    overlaps = False
    sizes: dict[str, int] = {}
    for entry in entries:
        segments = set(entry.segments.items())
        if entry.commit in replaced or (segments and segments <= taken):
            ignored.append(entry.commit)
            continue
        overlaps = overlaps or bool(segments & taken)
        taken |= segments
        kept.append(entry)
        for name, size in segments:
            sizes[name] = max(size, sizes.get(name, 0))
    return Ledger(kept, overlaps, sizes, ignored)
