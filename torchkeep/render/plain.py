"""Names of strangers, made fit for XML and HTML; escaping is left to whoever writes the markup."""

from __future__ import annotations

import re

_UNFIT = re.compile("[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 forbids (section 2.2) or discourages: control characters, lone surrogates."""


def plain(text: str) -> str:
    """Return the text with every character that a page may not hold replaced by U+FFFD."""
    return _UNFIT.sub("\ufffd", text)


def one_line(text: str, longest: int) -> str:
    """Return the text on one line of at most `longest` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
