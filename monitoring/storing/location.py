"""Where a log store lies: a folder, or a prefix in S3-compatible object storage.

Both are reached through `pyarrow.fs`, and on both a file appears whole or not at all: in a folder
by a rename, in object storage because an object is there only once it is put whole. Credentials are
looked for where every S3 client looks (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_PROFILE, the machine's role); they are never read, kept or shown here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from torchkeep.errors import UserError

S3 = "s3"
_TEMPORARY = ".tmp-"
COMMIT_GLOB = f"{'[0-9]' * 20}-*"
"""What the names of files that a compaction writes look like."""
_CONNECT_S, _REQUEST_S = 10.0, 60.0


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach object storage; empty values mean what the AWS environment says."""

    endpoint: str = ""
    """Such as http://127.0.0.1:9000; empty: AWS, or AWS_ENDPOINT_URL."""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """A root, and files below it named by relative paths with `/`."""

    name: str
    """As people write it, for messages."""
    filesystem: Any
    root: str
    is_local: bool

    def path(self, relative: str) -> str:
        """The path of a file as the file system knows it."""
        return f"{self.root}/{relative}".rstrip("/")

    def files(self, folder: str, *, older_than_s: float = 0.0) -> list[str]:
        """The relative paths of all files below a folder, sorted; none if it is not there.

        With `older_than_s`, those alone that were written so many seconds ago.
        """
        latest_ns = time.time_ns() - int(older_than_s * 1e9) if older_than_s else None
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        with _told(self):
            infos = self.filesystem.get_file_info(selector)
            if not infos and not self.is_local:
                self._require_bucket()
        found = [
            info.path
            for info in infos
            if info.type == pafs.FileType.File
            and (latest_ns is None or (info.mtime_ns or 0) <= latest_ns)
        ]
        names = sorted(path.removeprefix(self.root).lstrip("/") for path in found)
        return [name for name in names if _TEMPORARY not in name]

    def _require_bucket(self) -> None:
        """An empty prefix is an empty store; a bucket that is not there is a mistake."""
        bucket = self.root.partition("/")[0]
        if self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
            raise UserError(f"there is no bucket {bucket!r}", remedy="Make it, or name another.")

    def size(self) -> int:
        """Bytes of all files."""
        selector = pafs.FileSelector(self.root, recursive=True, allow_not_found=True)
        with _told(self):
            return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def read(self, relative: str) -> bytes:
        """A file's content. Raises `FileNotFoundError`; `UserError` if it cannot be read."""
        with _told(self), self.filesystem.open_input_stream(self.path(relative)) as file:
            return bytes(file.read())

    @contextmanager
    def writing(self, relative: str) -> Iterator[Any]:
        """Yield a stream to a new file that is there, whole, only once the block ended well."""
        write = self._into_folder if self.is_local else self._into_object
        with _told(self), write(self.path(relative)) as stream:
            yield stream

    def write(self, relative: str, content: bytes) -> None:
        """Write a whole file."""
        with self.writing(relative) as stream:
            stream.write(content)

    def remove(self, relative: str) -> None:
        """Remove a file that is there."""
        with _told(self):
            self.filesystem.delete_file(self.path(relative))

    @contextmanager
    def _into_folder(self, path: str) -> Iterator[Any]:
        folder, _, name = path.rpartition("/")
        temporary = Path(folder) / f"{_TEMPORARY}{name}"
        temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with self.filesystem.open_output_stream(str(temporary)) as stream:
                yield stream
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o600)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _into_object(self, path: str) -> Iterator[Any]:
        """A stream to storage cannot be called off, so nothing is sent before all is there."""
        content = pa.BufferOutputStream()
        yield content
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content.getvalue())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of a folder. Raises `UserError` if another process holds it, or
        if there can be none.

        Object storage has no locks: there, and where a file system has none, two compactions at
        once both write, and readers drop what is there twice.
        """
        if not self.is_local:
            yield
            return
        try:
            Path(self.root).mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(f"{self.root}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(
                f"log store {self.name} cannot be written: {error.strerror}",
                remedy="Name another folder: [monitoring] store, or --store.",
            ) from error
        try:
            _lock(descriptor, self.name)
            yield
        finally:
            os.close(descriptor)

    def remove_temporary(self) -> None:
        """Remove what writers that were killed left half-written; call it with the lock held."""
        if self.is_local:
            for path in Path(self.root).rglob(f"{_TEMPORARY}{COMMIT_GLOB}"):
                path.unlink(missing_ok=True)


def locate(location: str | Path, options: S3Options | None = None) -> Location:
    """Find a location: a folder's path, or `s3://bucket/prefix`; nothing is made or opened yet.

    Raises `UserError` if it is of another kind, or a file.
    """
    text = str(location)
    scheme, _, _ = text.partition("://") if "://" in text else ("", "", "")
    if scheme == S3:
        return _in_s3(text, options or S3Options())
    if scheme:
        raise UserError(
            f"a log store cannot lie at {text}", remedy="Give a folder or s3://bucket/prefix."
        )
    root = Path(text).resolve()
    if root.exists() and not root.is_dir():
        raise UserError(
            f"log store {text} is no folder", remedy="Give a folder or s3://bucket/prefix."
        )
    return Location(text, pafs.LocalFileSystem(), str(root), is_local=True)


def _in_s3(text: str, options: S3Options) -> Location:
    parts = urlsplit(text)
    if parts.username or parts.password or not parts.hostname:
        raise UserError(
            f"a log store cannot lie at s3://…{parts.path}",
            remedy="Give s3://bucket/prefix; credentials belong into the environment.",
        )
    endpoint = options.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    given: dict[str, Any] = {"region": options.region} if options.region else {}
    if endpoint:
        given |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
        given.setdefault("region", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    filesystem = pafs.S3FileSystem(
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        allow_bucket_creation=False,
        **given,
    )
    root = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    return Location(text, filesystem, root, is_local=False)


@contextmanager
def _told(location: Location) -> Iterator[None]:
    """Turn what object storage says into one line for the user."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        if location.is_local:
            raise
        first = str(error).splitlines()[0]
        raise UserError(
            f"log store {location.name}: {first}",
            remedy="Look at the bucket, s3_endpoint and s3_region in [monitoring], and AWS_*.",
        ) from error


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"another process is compacting into {name}", remedy="Wait until it has finished."
        ) from error
    except OSError:
        return  # no locks on this file system
