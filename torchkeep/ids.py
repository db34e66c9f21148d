"""The ids callers may give a request, a session, a chain of requests or a trace."""

from __future__ import annotations

import re
import uuid

MAX_ID_LENGTH = 128
_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_ID_LENGTH}}}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


def valid_id(text: str | None) -> str | None:
    """Return `text` if it is an id (1 to 128 of `A-Z a-z 0-9 . _ : -`), else None."""
    return text if text is not None and _ID.fullmatch(text) else None


def trace_id_of(traceparent: str) -> str | None:
    """Return the trace id (32 hex digits) of a `traceparent`, or None if it is none.

    W3C Trace Context, section 3.2.2: version 00 ends with its flags, later ones may go on.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or (match[2] is not None and traceparent.startswith("00")):
        return None
    return match[1]


def new_id() -> str:
    """Return a fresh random id."""
    return uuid.uuid4().hex
