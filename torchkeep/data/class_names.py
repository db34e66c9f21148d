"""Names of classes from a text file, one a line."""

from __future__ import annotations

from pathlib import Path

from torchkeep.data.config import Caps
from torchkeep.errors import DataError

_LONGEST_FILE = 1 << 20


def read_class_names(path: Path, caps: Caps) -> tuple[str, ...]:
    """Return the lines of `path`, blank ones left out. Raises `DataError`."""
    size = caps.check_file(path)
    if size > _LONGEST_FILE:
        raise DataError(path, f"{size:,} bytes", f"at most {_LONGEST_FILE:,}, one name a line")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}", "UTF-8 text, one name a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    caps.check_classes(path, len(names))
    return names
