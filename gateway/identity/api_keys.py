"""Who a request comes from: the API key it shows, looked up and compared in constant time."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from gateway.identity.api_key_file import ID_DIGITS, PREFIX, ApiKey, ApiKeyFile, is_key_text
from gateway.principal import Principal
from gateway.refusal import Code, Refusal
from torchkeep.keys import KeyFileError, client_pseudonym, ensure_key, pseudonym_key_file
from torchkeep.paths import Home

LOOK_EVERY_S = 1.0
"""How long a changed file may go unnoticed."""
TRUST_S = 5.0
"""How long keys are taken whose file cannot be read: it may say that they are revoked."""
HOW = "send a key as `Authorization: Bearer KEY`; `torchkeep key add NAME` makes one"

_logger = logging.getLogger(__name__)
_ID_START = len(PREFIX)
_ID_END = _ID_START + ID_DIGITS


@dataclass(frozen=True, slots=True)
class _Secret:
    digest: bytes
    expires: float  # seconds since 1970; infinite if it stays


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it is asked for at each request: its newest secret first."""

    principal: Principal | None
    secrets: tuple[_Secret, ...]


_NOBODY = _Known(None, (_Secret(bytes(32), math.inf),))
"""What a secret is compared with if its key is unknown, so that this takes no less time."""


class ApiKeys:
    """The keys in force: those of the file, which is read anew within a second of its change.

    A file that is gone, broken or open to others leaves the keys in force as they were; one that
    the system does not let it read (no descriptor is free, its disk fails) does so for `TRUST_S`,
    and then no key is taken. Either is logged once.
    """

    def __init__(
        self, file: ApiKeyFile, pseudonym_key: bytes, *, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        """Read the keys. Raises `KeyFileError` if that cannot be done."""
        self._file = file
        self._pseudonym_key = pseudonym_key
        self._look_every_s = look_every_s
        self._complaint = ""
        self._unreadable_since: float | None = None
        self._next_look = time.monotonic() + look_every_s
        self._read()

    @classmethod
    def of(cls, home: Home) -> ApiKeys:
        """Return the keys of a home; `local_key` makes one that is always there."""
        return cls(ApiKeyFile.of(home), ensure_key(pseudonym_key_file(home)))

    def __len__(self) -> int:
        return len(self._known)

    def authenticate(self, token: str | None) -> Principal:
        """Return whose key `token` is.

        Raises `Refusal`: UNAUTHENTICATED, or UNAVAILABLE while the keys cannot be read.
        """
        if time.monotonic() >= self._next_look:
            self._look()
        if not token:
            raise Refusal(Code.UNAUTHENTICATED, f"no API key was sent: {HOW}")
        if not is_key_text(token):
            raise _unknown()
        if self._unreadable_since is not None:
            self._refuse_if_long_unreadable(self._unreadable_since)
        known = self._known.get(token[_ID_START:_ID_END], _NOBODY)
        shown = sha256(token[_ID_END + 1 :].encode()).digest()
        for secret in known.secrets:
            if compare_digest(shown, secret.digest) and known.principal is not None:
                if secret.expires <= time.time():
                    raise Refusal(
                        Code.UNAUTHENTICATED,
                        f"the API key of {known.principal.name!r} has expired: ask for a new one",
                    )
                return known.principal
        raise _unknown()

    def _look(self) -> None:
        """Read the file if it is not the one that was read, or could not be."""
        self._next_look = time.monotonic() + self._look_every_s
        if not (self._complaint or self._changed()):
            return
        try:
            self._read()
        except (KeyFileError, OSError) as error:
            self._keep(error)
        else:
            self._complaint, self._unreadable_since = "", None

    def _keep(self, error: Exception) -> None:
        """Take note, and say once, that the keys stay as they were."""
        how_long = ""
        if not _is_unreadable(error):
            self._unreadable_since = None
        else:
            how_long = f" for {TRUST_S:g} s, then none is taken"
            if self._unreadable_since is None:
                self._unreadable_since = time.monotonic()
        if str(error) != self._complaint:
            self._complaint = str(error)
            _logger.warning("the API keys stay as they were%s: %s", how_long, error)

    def _refuse_if_long_unreadable(self, since: float) -> None:
        if time.monotonic() - since > TRUST_S:
            raise Refusal(
                Code.UNAVAILABLE,
                "the API keys cannot be read; try again, and see the gateway's log",
                retry_after_s=self._look_every_s,
            )

    def _changed(self) -> bool:
        try:
            return _signature(os.stat(self._file.path)) != self._signature  # noqa: PTH116
        except OSError:
            return True

    def _read(self) -> None:
        keys, status = self._file.read()
        self._known = {key.id: self._prepared(key) for key in keys}
        self._signature = _signature(status)

    def _prepared(self, key: ApiKey) -> _Known:
        expires = key.expires.timestamp() if key.expires else math.inf
        principal = Principal(
            name=key.name,
            client=client_pseudonym(self._pseudonym_key, key.id),
            permissions=frozenset(key.permissions),
        )
        old = (_Secret(bytes.fromhex(each.sha256), each.expires.timestamp()) for each in key.old)
        return _Known(principal, (_Secret(bytes.fromhex(key.sha256), expires), *old))


def _unknown() -> Refusal:
    return Refusal(Code.UNAUTHENTICATED, f"the API key is not valid: {HOW}")


def _is_unreadable(error: Exception) -> bool:
    """Whether the file is there but the system does not let it be read."""
    reason = error if isinstance(error, OSError) else error.__cause__
    return isinstance(reason, OSError) and not isinstance(reason, FileNotFoundError)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells one state of the file from another; a `chmod` changes it, too."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
