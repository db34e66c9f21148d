"""How long a server asks to be left alone, as the header `retry-after` says it."""

from __future__ import annotations

import re
import time
from email.utils import mktime_tz, parsedate_tz
from typing import Final

HEADER: Final = "retry-after"
SECONDS: Final = re.compile(r"[0-9]{1,9}")


def of_header(value: str) -> float | None:
    """Read whole seconds or a date (RFC 9110, section 10.2.3); a past date is 0.

    A server may say anything, so what cannot be read counts as nothing said.
    """
    value = value.strip()
    if SECONDS.fullmatch(value):
        return float(value)
    if not value[:3].isalpha():  # a date begins with a weekday; "-1" and "1.5" are none
        return None
    try:
        parts = parsedate_tz(value)
        return max(0.0, mktime_tz(parts) - time.time()) if parts else None
    except (ValueError, OverflowError):  # a month that is none, a year beyond all clocks
        return None
