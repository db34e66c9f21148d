"""The ids callers may give a request, a session or a chain of requests."""

from __future__ import annotations

import re
import uuid

MAX_ID_LENGTH = 128
_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_ID_LENGTH}}}")


def valid_id(text: str | None) -> str | None:
    """Return `text` if it is an id (1 to 128 of `A-Z a-z 0-9 . _ : -`), else None."""
    return text if text is not None and _ID.fullmatch(text) else None


def new_id() -> str:
    """Return a fresh random id."""
    return uuid.uuid4().hex
