"""Secret keys in files that only their owner can read, and the pseudonyms made with one of them.

keys/envelope.key    made anew at each start; proves that a request came through the gateway
keys/pseudonym.key   made once and kept, so that a client keeps its pseudonym; delete it and
                     the pseudonyms in older logs can be linked to nobody any more

Callers' API keys are another thing: `gateway/identity/api_key_file.py`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torchkeep.atomic_file import write_atomic
from torchkeep.errors import UserError
from torchkeep.paths import Home

KEY_BYTES = 32
PSEUDONYM_BYTES = 16


class KeyFileError(UserError):
    """A key file, or its directory, that may not be used."""


def envelope_key_file(home: Home) -> Path:
    """Where the key of the envelope between gateway and handler is."""
    return home.root / "keys" / "envelope.key"


def pseudonym_key_file(home: Home) -> Path:
    """Where the key of the clients' pseudonyms is."""
    return home.root / "keys" / "pseudonym.key"


def renew_key(path: Path) -> bytes:
    """Write a new key to `path`, in place of an old one, and return it."""
    make_private_directory(path.parent)
    key = secrets.token_bytes(KEY_BYTES)
    write_atomic(path, key, mode=0o600)
    return key


def ensure_key(path: Path) -> bytes:
    """Return the key in `path`; make it first if there is none.

    Of several processes that do so at the same time, one makes the key and all return it.
    """
    make_private_directory(path.parent)
    if not path.exists():
        _create_key(path)
    return read_key(path)


def read_key(path: Path) -> bytes:
    """Return the key in `path`.

    Raises `KeyFileError` if it is missing, is not a key, or others than its owner may read it.
    """
    with _opened(path) as (descriptor, status):
        if not stat.S_ISREG(status.st_mode) or status.st_size != KEY_BYTES:
            raise KeyFileError(
                f"{path} is not a key of {KEY_BYTES} bytes", remedy="Delete it to have one made."
            )
        _require_mode(path, status, "600")
        return os.read(descriptor, KEY_BYTES)


def read_private(path: Path, *, most: int) -> tuple[bytes, os.stat_result]:
    """Return what is in a file of at most `most` bytes, and its status before it was read.

    Raises `KeyFileError` if it is missing, larger, no file, or others than its owner may read it.
    """
    with _opened(path) as (descriptor, status):
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path} is not a file")
        _require_mode(path, status, "600")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    if len(content) > most:
        raise KeyFileError(f"{path} is larger than {most} bytes")
    return content, status


def make_private_directory(directory: Path) -> None:
    """Make a directory for secrets; raises `KeyFileError` if others may use the one there is."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    _require_private(directory)


def client_pseudonym(key: bytes, identity: str) -> str:
    """Return the name under which a client is logged: 32 hexadecimal digits of a keyed BLAKE2b.

    The same client has the same name as long as the key is kept; without the key nobody can tell
    whether a name belongs to an identity. Raises `ValueError` if the key has not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, got {len(key)}")
    text = identity.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(
        text, key=key, digest_size=PSEUDONYM_BYTES, person=b"tk-client"
    ).hexdigest()


def _create_key(path: Path) -> None:
    """Give a finished key its name by a link, which fails if another process was first."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            path.hardlink_to(scratch)
    finally:
        Path(scratch).unlink()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file in a private directory, never through a link and never waiting for a pipe."""
    _require_private(path.parent)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"key file {path} cannot be read: {error.strerror}") from error
    try:
        yield descriptor, os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _require_private(directory: Path) -> None:
    try:
        status = directory.stat()
    except OSError as error:
        raise KeyFileError(f"key directory {directory}: {error.strerror}") from error
    _require_mode(directory, status, "700")


def _require_mode(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid != os.geteuid():
        raise KeyFileError(f"{path} holds secrets but belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyFileError(
            f"{path} holds secrets but others may use it", remedy=f"Run `chmod {mode} {path}`."
        )
