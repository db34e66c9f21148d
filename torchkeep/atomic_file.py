"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` to `path` through a temporary file and a rename.

    Raises `OSError` (a full disk, say) and then leaves neither a new nor a changed file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a scratch directory that becomes `path` when the block ends well.

    A directory that is there is replaced only then, with all it holds: whether that may go is the
    caller's to know. On any error the scratch directory is removed and the old one stays. After a
    kill in the middle the old one is at `path` or at `set_aside(path)`; the next call puts it back.
    Raises `NotADirectoryError` if `path` is a file.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield scratch
        scratch.chmod(0o700)
        _swap_in(scratch, path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def set_aside(path: Path) -> Path:
    """Return where the old directory lies while `atomic_directory` puts a new one at `path`."""
    path = path.resolve()
    return path.with_name(f".{path.name}.replaced")


def _swap_in(new: Path, path: Path) -> None:
    try:
        if path.exists():
            path.replace(set_aside(path))
        new.replace(path)
    finally:
        settle(path)


def settle(path: Path) -> None:
    """Remove an old directory whose successor is there; put back one that has none."""
    old, path = set_aside(path), path.resolve()
    if old.exists() and not path.exists():
        old.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
