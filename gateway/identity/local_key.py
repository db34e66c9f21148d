"""The key of this machine's own command line: made at the first start, its text kept in a file.

Whoever may read `keys/local.api-key` may use the key: only the home's owner may read it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from gateway.identity.api_key_file import (
    LOCAL_NAME,
    TEXT_LENGTH,
    ApiKey,
    ApiKeyFile,
    is_key_text,
    is_text_of,
    new_key,
)
from gateway.principal import Permission
from torchkeep.errors import UserError
from torchkeep.keys import KeyFileError, read_private
from torchkeep.paths import Home

PERMISSIONS = (Permission.PREDICT, Permission.EXPLAIN, Permission.OBSERVE)


def ensure_local_key(home: Home) -> str:
    """Return the text of the local key; make the key, or a new secret of it, if it does not work.

    Of several processes that do so at the same time, one makes the key and all return it. Raises
    `KeyFileError` if the files may not be used.
    """
    file = ApiKeyFile.of(home)
    with file.locked():
        known = file.known()
        before = next((key for key in known if key.name == LOCAL_NAME), None)
        text = _read(file) if os.path.lexists(file.local_text) else ""
        if before and is_text_of(text, before) and not before.expired(datetime.now(UTC)):
            return text
        return _made(file, known, before)


def local_key(home: Home) -> str:
    """Return the text of the local key. Raises `UserError` if there is none."""
    file = ApiKeyFile.of(home)
    if not os.path.lexists(file.local_text):
        raise UserError("this machine has no API key of its own", remedy="Run torchkeep up.")
    text = _read(file)
    if not is_key_text(text):
        raise KeyFileError(
            f"{file.local_text} holds no API key", remedy="Delete it and run torchkeep up."
        )
    return text


def _read(file: ApiKeyFile) -> str:
    content, _ = read_private(file.local_text, most=4 * TEXT_LENGTH)
    return content.decode("ascii", "replace").strip()


def _made(file: ApiKeyFile, known: tuple[ApiKey, ...], before: ApiKey | None) -> str:
    """Make the key; one that was there keeps its id, and with it the pseudonym in the log."""
    identity = before.id if before else None
    made = new_key(LOCAL_NAME, PERMISSIONS, beside=known, identity=identity)
    file.write((*(key for key in known if key is not before), made.key))
    file.keep_local(made)
    return made.text
