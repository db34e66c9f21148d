"""The 8 x 8 digits of UCI's optdigits, as scikit-learn ships them: 64 pixels and a label a line.

Pixels are 0 to 16 there; here they are scaled to 0 to 255.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from torchkeep.data.config import Caps
from torchkeep.data.raw import RawData, RawSplit
from torchkeep.errors import DataError

FILES = ("digits.csv.gz", "optdigits.tes")
_LONGEST = 1 << 20
_LINE = "64 pixels from 0 to 16 and a label from 0 to 9 on each line"


def read_digits(folder: Path, caps: Caps) -> RawData:
    """Read the first of `FILES` that `folder` holds. Raises `DataError`."""
    path = next((folder / name for name in FILES if (folder / name).exists()), folder / FILES[0])
    caps.check_file(path)
    try:
        rows = [[int(part) for part in line.split(b",")] for line in _content(path).splitlines()]
        table = np.array(rows, dtype=np.uint16)
    except (ValueError, OverflowError) as error:
        raise DataError(path, f"is not a table of whole numbers: {error}", _LINE) from error
    if table.ndim != 2 or table.shape[1] != 65 or table[:, :64].max() > 16:
        raise DataError(path, f"a table of shape {table.shape}", _LINE)
    caps.check_images(path, (len(table), 1, 8, 8))
    images = (table[:, :64] * 255 + 8) // 16
    labels = table[:, 64].astype(np.int64)
    return RawData(RawSplit(images.astype(np.uint8).reshape(-1, 1, 8, 8), labels, path, path))


def _content(path: Path) -> bytes:
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            content: bytes = file.read(_LONGEST + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(path, f"cannot be read: {error}", "a whole file") from error
    if len(content) > _LONGEST:
        raise DataError(path, f"more than {_LONGEST:,} bytes", "1,797 lines")
    return content
