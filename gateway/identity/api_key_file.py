"""The API keys of callers, as they lie in `keys/api-keys.json`: digests, never a key in clear.

A key's text is `tk_<id>_<secret>`: 8 hexadecimal digits that say which key it is, and 32 random
bytes in URL-safe base64. A secret of 256 random bits needs no slow hash and no salt: the file holds
its SHA-256. `rotate` gives a key a new secret under the same id, so that a caller keeps the
pseudonym under which it is logged; old secrets may stay valid for a while.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.principal import Permission
from torchkeep.atomic_file import write_atomic
from torchkeep.errors import UserError
from torchkeep.keys import KeyFileError, make_private_directory, read_private
from torchkeep.paths import Home

ID_DIGITS = 8
SECRET_BYTES = 32
PREFIX = "tk_"
TEXT_LENGTH = len(PREFIX) + ID_DIGITS + 1 + 43  # 32 bytes are 43 letters of base64
LOCAL_NAME = "local"
"""The key of this machine's own command line; its text lies in `keys/local.api-key`."""
MAX_FILE_BYTES = 4 * 1024 * 1024  # some 15,000 keys
LOCK_TIMEOUT_S = 10.0

_UNDERSCORE = len(PREFIX) + ID_DIGITS
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class OldSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that a newer one has replaced, and that still works until `expires`."""

    sha256: _Sha256
    expires: _Moment


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One caller's key; `created` is when its secret was made, and without `expires` it stays.

    A field that is not known is an error, for a misspelt `expires` would make a key that stays.
    """

    id: Annotated[str, msgspec.Meta(pattern=rf"\A[0-9a-f]{{{ID_DIGITS}}}\Z")]
    name: Annotated[str, msgspec.Meta(pattern=rf"\A{_NAME.pattern}\Z")]
    permissions: Annotated[tuple[Permission, ...], msgspec.Meta(min_length=1)]
    sha256: _Sha256
    created: _Moment
    expires: _Moment | None = None
    old: tuple[OldSecret, ...] = ()

    def __post_init__(self) -> None:
        moments = (self.created, self.expires, *(old.expires for old in self.old))
        if not all(moment is None or 2000 <= moment.year <= 9000 for moment in moments):
            raise ValueError("a time is not of the years 2000 to 9000")

    def expired(self, now: datetime) -> bool:
        """Whether no secret of this key works any more."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, and its text while that is known."""

    key: ApiKey
    text: str = field(repr=False)


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    format: Literal[1] = 1
    keys: tuple[ApiKey, ...] = ()

    def __post_init__(self) -> None:
        for what in ("id", "name"):
            values = [getattr(key, what) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {what}")


_DECODER = msgspec.json.Decoder(_Content)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ApiKeyFile:
    """The file of all keys; whoever changes it holds its lock, and readers need none."""

    path: Path

    @classmethod
    def of(cls, home: Home) -> ApiKeyFile:
        """Return the file of a home, which need not be there yet."""
        return cls(home.root / "keys" / "api-keys.json")

    @property
    def local_text(self) -> Path:
        """Where the text of the local key lies."""
        return self.path.with_name(f"{LOCAL_NAME}.api-key")

    def read(self) -> tuple[tuple[ApiKey, ...], os.stat_result]:
        """Return the keys and the status of the file from which they come.

        Raises `KeyFileError`: missing, others may use it, or not a file of keys.
        """
        content, status = read_private(self.path, most=MAX_FILE_BYTES)
        try:
            return _DECODER.decode(content).keys, status
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KeyFileError(
                f"{self.path} is not a file of API keys: {' '.join(str(error).split())}",
                remedy="Mend it, or delete it and add the keys again: torchkeep key add NAME.",
            ) from error

    def known(self) -> tuple[ApiKey, ...]:
        """Return the keys; none if there is no file yet. Raises `KeyFileError`."""
        return self.read()[0] if os.path.lexists(self.path) else ()

    def add(
        self, name: str, permissions: Collection[Permission], *, expires: datetime | None = None
    ) -> NewKey:
        """Make a key; its text is kept nowhere. Raises `UserError`."""
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} is no name of a key",
                remedy="Give 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit.",
            )
        if name == LOCAL_NAME:
            raise UserError(
                f"the name {LOCAL_NAME!r} is kept for this machine's own key",
                remedy="Choose another.",
            )
        if not permissions:
            raise UserError(f"the key {name!r} may do nothing", remedy="Give it a permission.")
        with self.locked():
            known = self.known()
            if any(key.name == name for key in known):
                raise UserError(
                    f"there is a key {name!r} already",
                    remedy=f"Choose another name, or renew it: torchkeep key rotate {name}.",
                )
            made = new_key(name, permissions, expires=expires, beside=known)
            self.write((*known, made.key))
            return made

    def rotate(
        self, name: str, *, overlap: timedelta = timedelta(0), expires: datetime | None = None
    ) -> NewKey:
        """Give a key a new secret; the old one works for `overlap` more.

        The key keeps its id, permissions and, without `expires`, its end; the overlap ends no later
        than either secret would. Raises `UserError`.
        """
        with self.locked():
            known = self.known()
            before, now = _find(known, name), _now()
            if expires is None and before.expired(now):
                raise UserError(
                    f"the key {name!r} has expired", remedy="Say for how long: --expires-days 90."
                )
            ends = [now + overlap, *filter(None, (before.expires, expires))]
            replaced = OldSecret(sha256=before.sha256, expires=min(ends))
            secret = _new_secret()
            after = msgspec.structs.replace(
                before,
                sha256=_digest(secret),
                created=now,
                expires=expires or before.expires,
                old=tuple(old for old in (*before.old, replaced) if old.expires > now),
            )
            self.write(tuple(after if key is before else key for key in known))
            made = NewKey(after, _text(after, secret))
            if name == LOCAL_NAME:
                self.keep_local(made)
            return made

    def keep_local(self, made: NewKey) -> None:
        """Write down the text of the local key; for one who holds the lock."""
        write_atomic(self.local_text, made.text.encode(), mode=0o600)

    def revoke(self, name: str) -> None:
        """Remove a key with all its secrets. Raises `UserError` if there is none of that name."""
        with self.locked():
            known = self.known()
            gone = _find(known, name)
            self.write(tuple(key for key in known if key is not gone))
            if name == LOCAL_NAME:
                self.local_text.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the file. Raises `KeyFileError` if another process keeps it."""
        make_private_directory(self.path.parent)
        lock = self.path.with_suffix(".lock")
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise KeyFileError(f"{lock} cannot be locked: {error.strerror}") from error
        try:
            _take(descriptor, self.path)
            yield
        finally:
            os.close(descriptor)

    def write(self, keys: tuple[ApiKey, ...]) -> None:
        """Put these keys in the place of those there are; for one who holds the lock.

        Raises `KeyFileError` if they are too many, and `OSError`.
        """
        content = msgspec.json.format(_ENCODER.encode(_Content(keys=keys)), indent=2)
        if len(content) > MAX_FILE_BYTES:
            raise KeyFileError(
                f"{self.path} has no room for another key", remedy="Revoke those not in use."
            )
        write_atomic(self.path, content + b"\n", mode=0o600)


def new_key(
    name: str,
    permissions: Collection[Permission],
    *,
    expires: datetime | None = None,
    beside: Collection[ApiKey] = (),
    identity: str | None = None,
) -> NewKey:
    """Return a new key; its id is `identity`, or another than those `beside` it."""
    taken = {key.id for key in beside}
    secret = _new_secret()
    made = ApiKey(
        id=identity or next(new for new in iter(_new_id, None) if new not in taken),
        name=name,
        permissions=tuple(sorted(set(permissions))),
        sha256=_digest(secret),
        created=_now(),
        expires=expires,
    )
    return NewKey(made, _text(made, secret))


def is_key_text(text: str) -> bool:
    """Return whether `text` looks like a key; its secret may hold anything that is ASCII."""
    return (
        len(text) == TEXT_LENGTH
        and text.startswith(PREFIX)
        and text[_UNDERSCORE] == "_"
        and text.isascii()
    )


def is_text_of(text: str, key: ApiKey) -> bool:
    """Return whether `text` shows the newest secret of `key`."""
    start = f"{PREFIX}{key.id}_"
    return text.startswith(start) and compare_digest(_digest(text[len(start) :]), key.sha256)


def _text(key: ApiKey, secret: str) -> str:
    return f"{PREFIX}{key.id}_{secret}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise KeyFileError(
                    f"another process is changing {path}", remedy="Try again."
                ) from None
            time.sleep(0.01)


def _find(keys: tuple[ApiKey, ...], name: str) -> ApiKey:
    for key in keys:
        if key.name == name:
            return key
    near = difflib.get_close_matches(name, [key.name for key in keys], n=1, cutoff=0.0)
    remedy = f"Did you mean {near[0]!r}?" if near else "Add one: torchkeep key add NAME."
    raise UserError(f"there is no key {name!r}", remedy=remedy)


def _new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def _new_id() -> str:
    return secrets.token_hex(ID_DIGITS // 2)


def _now() -> datetime:
    return datetime.now(UTC)
