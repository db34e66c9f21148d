"""Zip archives read with bounds: what a header claims never decides how much is allocated."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchkeep.errors import DataError

_LONGEST_READ = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, OverflowError, ValueError),
)
"""What `zipfile` raises for bytes that are no archive, or a damaged one."""


class _BoundedFile(io.FileIO):
    """A file that refuses long reads: `zipfile` reads a directory of any claimed size at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _LONGEST_READ:
            raise zipfile.BadZipFile(f"a directory of {wanted:,} bytes")
        return super().read(wanted) or b""


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Yield the archive at `path` for reading; whatever is wrong with it becomes `DataError`."""
    try:
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except DataError:
        raise
    except OSError as error:
        raise DataError(
            path, f"cannot be read: {error.strerror or error}", "a zip archive"
        ) from error
    except _DAMAGE as error:
        raise DataError(path, f"damaged archive: {error}", "a whole zip archive") from error


@contextmanager
def opened_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Yield the content of one member; it can never give more than its declared size.

    Only stored and deflated members are read: `zipfile` unpacks other kinds without a bound.
    Raises `zipfile.BadZipFile`, which `opened_zip` turns into `DataError`.
    """
    if member.compress_type not in _METHODS or member.flag_bits & 0x1:
        raise zipfile.BadZipFile(f"{member.filename!r} is encrypted or of an unusual compression")
    with archive.open(member) as content:
        yield content
