"""That a data set was scanned for poison: one small JSON file a data set, in Torchkeep's home.

Training refuses third-party data without one. The data sets of the catalogue need none: their
content is pinned, so what is read is what its authors published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from torchkeep import __version__
from torchkeep.atomic_file import write_atomic
from torchkeep.data.catalogue import CATALOGUE
from torchkeep.data.dataset import Dataset, digest_of
from torchkeep.errors import DataError
from torchkeep.paths import Home

FORMAT = "torchkeep scan record 1"
MAX_BYTES = 1024 * 1024

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRecord:
    """What a scan of the data set `dataset_digest` came to.

    `flagged` counts the samples by reason; `dropped` those that were left out, by the index whose
    SHA-256 is `index_digest`. For the data set that is left, `cleaned_from` names the one scanned.
    """

    dataset_digest: str
    scanned_at: str
    images: int
    flagged: Mapping[str, int]
    dropped: int = 0
    index_digest: str | None = None
    cleaned_from: str | None = None
    code_version: str = __version__

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.dataset_digest):
            raise ValueError(f"{self.dataset_digest!r} is no digest")

    def write(self, home: Home) -> Path:
        """Write the record into a home, in place of an earlier one."""
        path = record_path(home, self.dataset_digest)
        document = {"format": FORMAT, **asdict(self)}
        write_atomic(path, json.dumps(document, indent=2).encode() + b"\n")
        return path


def now() -> str:
    """Return the time as records give it: UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def record_path(home: Home, digest: str) -> Path:
    """Return where the record of a data set lies."""
    return home.root / "scans" / f"{digest}.json"


def read_record(home: Home, digest: str) -> ScanRecord | None:
    """Return the record of a data set; None if it was never scanned.

    Raises `DataError` if there is a file that is none, or one of another data set.
    """
    path = record_path(home, digest)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _broken(path, f"more than {MAX_BYTES:,} bytes")
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}") from error
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "is no JSON") from error
    return _parsed(raw, digest, path)


def require_scanned(dataset: Dataset, *, told: bool, home: Home | None = None) -> None:
    """Raise `DataError` if third-party data was not scanned, unless `told` to take it all the same.

    Data is the catalogue's own by its content, never by its name.
    """
    if told or dataset.digest in _published():
        return
    if read_record(home or Home.default(), dataset.digest) is None:
        raise DataError(
            dataset.source,
            "was not scanned for poison",
            "data that was, or of the catalogue",
            remedy=f"Run `torchkeep scan-poison {dataset.source}`, or train with --unscanned.",
        )


def _published() -> frozenset[str]:
    return frozenset(digest_of(source.classes, source.pins) for source in CATALOGUE.values())


def _parsed(raw: object, digest: str, path: Path) -> ScanRecord:
    names = {field.name for field in fields(ScanRecord)}
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT or raw.keys() != names:
        raise _broken(path, "is of another format")
    if raw["dataset_digest"] != digest:
        raise _broken(path, "is of another data set")
    counts = raw["flagged"]
    whole = isinstance(counts, dict) and all(type(count) is int for count in counts.values())
    if not whole or type(raw["images"]) is not int or type(raw["dropped"]) is not int:
        raise _broken(path, "holds what is no count")
    return ScanRecord(**raw)


def _broken(path: Path, fault: str) -> DataError:
    return DataError(path, fault, "a scan record", remedy="Delete it, and scan the data again.")
